"""What else the panel promises, in a real browser: reloads, tabs, subgraphs, pictures, keys, sizes, colours, the rate of its messages."""

import json
import time

import panel_page
import pytest
from panel_page import Page, graph

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chrome():
    with panel_page.chromium() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with panel_page.comfyui(tmp_path_factory.mktemp("carried")) as running:
        yield running


@pytest.fixture
def pages(chrome, server):
    """Makes pages; none of them may have complained about us."""
    made = []

    def make(**options):
        made.append(Page(chrome, server, **options))
        return made[-1]

    yield make
    said = [text for page in made for text in page.said]
    for page in made:
        page.close()
    assert said == []


@pytest.fixture
def page(pages):
    return pages()


def found(page, **widgets):
    """A search that is over."""
    page.load(graph(**widgets))
    page.queue()
    page.wait_for_title("Your turn" if widgets.get("choose") == "me" else "Found the best of")


# -- reloads, tabs, subgraphs --------------------------------------------------------------------------------------------


def test_f5_in_mid_run_heals_itself(page):
    page.load(graph(candidates=2000))
    page.queue()
    page.wait_for_cards(4)
    page.reload()
    page.wait_for_cards(6)
    assert page.title().startswith("Searching")
    page.panel.locator(".nsp-stop").click()
    page.wait_for_title("Found the best of")


def test_two_browsers_each_see_their_own(pages):
    workflow = graph()
    mine, yours = pages(), pages()
    for one in (mine, yours):
        one.load(workflow)
    mine.queue()
    mine.wait_for_title("Found the best of")
    assert yours.title().startswith("Press Run") and not yours.frames
    assert mine.frames and {state["workflow"] for _, _, state in mine.frames} == {workflow["id"]}


def test_another_workflow_in_the_same_tab_is_left_alone(page):
    """Both have a node 10. Back in the first, its candidates are there."""
    first, second = graph(candidates=2000), graph()
    page.load(first)
    page.queue()
    page.wait_for_cards(2)
    page.load(second)
    shown = len(page.frames)
    until = time.monotonic() + panel_page.SECONDS
    while len(page.frames) < shown + 3:
        assert time.monotonic() < until
        page.page.wait_for_timeout(50)
    assert page.title().startswith("Press Run")
    page.load(first)
    page.wait_for_cards(3)
    page.panel.locator(".nsp-stop").click()
    page.wait_for_title("Found the best of")


def test_two_searches_in_one_graph_have_panels_of_their_own(page):
    workflow = graph(seed=5)
    node, save = (json.loads(json.dumps(one)) for one in workflow["nodes"][-2:])
    node["id"], save["id"] = 20, 21
    node["pos"], save["pos"] = [640, 1600], [1150, 1600]
    node["widgets_values"][0] = 100
    links = {link[0]: link for link in workflow["links"]}
    for one in (node, save):
        for socket in one["inputs"]:
            if socket["link"] is not None:
                old = links[socket["link"]]
                socket["link"] = old[0] + 50
                source = 20 if old[1] == 10 else old[1]
                workflow["links"].append([old[0] + 50, source, old[2], one["id"], old[4], old[5]])
    workflow["nodes"] += [node, save]
    page.load(workflow)
    page.queue()
    page.page.wait_for_function(
        "() => [...document.querySelectorAll('.nsp-title')].filter(t => t.textContent.startsWith('Found')).length === 2"
    )
    seeds = [set(panel.locator(".nsp-from").all_inner_texts()) for panel in page.page.locator(".nsp").all()]
    assert {frozenset(one) for one in seeds} == {
        frozenset(f"seed {start + i}" for i in range(8)) for start in (5, 100)
    }


def test_inside_a_subgraph(page):
    page.load(graph())
    inside = page.page.evaluate(
        """() => {
            const made = app.graph.convertToSubgraph(new Set([app.graph.getNodeById(10)]));
            app.canvas.setGraph(made.subgraph);
            return `${made.node.id}:${made.subgraph.nodes.find(n => n.type === 'NoiseSearchKSampler').id}`;
        }"""
    )
    page.queue()
    page.wait_for_title("Found the best of 8")
    assert {state["node"] for _, _, state in page.frames} == {inside}
    page.reload()
    page.page.evaluate("app.canvas.setGraph(app.graph.nodes.find(n => n.subgraph).subgraph)")
    page.wait_for_title("Found the best of 8")
    page.page.wait_for_timeout(300)
    page.cards.nth(1).locator(".nsp-use").dispatch_event("click")
    page.wait_for_title("Your pick goes on")


def test_a_cancelled_search_says_so(page):
    page.load(graph(candidates=2000))
    page.queue()
    page.wait_for_cards(2)
    page.server.interrupt()
    page.wait_for_title("Cancelled")
    assert not page.panel.locator(".nsp-stop").is_visible() and page.cards.count() >= 2


# -- what can be done with a candidate ---------------------------------------------------------------------------------------


def test_more_like_this_searches_around_it_and_is_one_step_to_undo(page):
    found(page)
    seeds, before = page.seeds(), page.page.evaluate("app.graph.nodes.length")
    page.act(1, "More like this")
    page.wait("!panel.querySelector('.nsp-title').textContent.startsWith('Found')")
    page.wait_for_title("Found the best of 8")
    around = page.page.evaluate(
        "app.graph.getNodeById(10).getInputNode(6)?.widgets.find(w => w.name === 'around')?.value"
    )
    assert f"seed {json.loads(around)['pieces'][0]['noise']['seed']}" == seeds[1]
    report = page.last_entry()["outputs"]["10"]["noise_search"][0]
    candidates = report["images"][0]["candidates"]
    assert report["search"]["name"] == "zero-order search"
    assert f"seed {candidates[0]['noise']['seed']}" == seeds[1] and "moves" not in candidates[0]["noise"]
    assert all(
        one["noise"]["seed"] == candidates[0]["noise"]["seed"] and one["noise"]["moves"]
        for one in candidates[1:]
    )
    assert page.page.evaluate("app.graph.nodes.length") == before + 1
    page.page.keyboard.press("Escape")
    page.page.locator("#graph-canvas").press("Control+z")
    page.page.wait_for_function("count => app.graph.nodes.length === count", arg=before)
    assert page.page.evaluate("app.graph.getNodeById(10).inputs[6].link") is None


def test_rejected_ones_stay_away_and_can_be_taken_back(page):
    found(page)
    seeds = page.seeds()
    page.act(0, "nsp-reject")
    page.wait("panel.querySelectorAll('.nsp-card').length === 7")
    assert page.seeds() == seeds[1:]
    page.page.wait_for_timeout(1500)  # the page saves its draft by and by
    page.reload()
    page.wait_for_cards(7)
    assert page.seeds() == seeds[1:]
    page.panel.get_by_role("button", name="1 rejected").click()
    page.wait_for_cards(8)
    assert page.seeds() == seeds


def test_when_i_choose_nothing_goes_on_before(page):
    found(page, choose="me")
    assert "11" not in page.last_entry()["outputs"]
    page.photograph("your-turn", whole=True)
    page.cards.nth(2).locator(".nsp-open-card").click()
    page.page.locator(".nsp-primary").click()
    page.wait_for_title("Your pick goes on")
    assert "11" in page.last_entry()["outputs"]


def test_the_shortlist_survives_a_restart(page):
    """The server's history is gone then; the browser remembers."""
    found(page, choose="me")
    seeds = page.seeds()
    page.last_entry()
    page.server.post("/history", {"clear": True})
    page.page.wait_for_timeout(1500)  # the page saves its draft by and by
    page.reload()
    page.wait_for_title("Your turn: pick one")
    assert page.seeds() == seeds
    page.look_at()
    page.act(3, "nsp-use")
    page.wait_for_title("Your pick goes on")
    winner = page.last_entry()["outputs"]["10"]["noise_search"][0]["images"][0]["winner"]
    assert f"seed {winner['seed']}" == seeds[3]


def test_a_dropped_picture_brings_its_best_few(page):
    found(page)
    seeds = page.seeds()
    entry = page.last_entry()
    png = page.server.images(entry)["11"][0]
    page.server.post("/history", {"clear": True})
    page.page.evaluate("localStorage.removeItem('NoiseSearch.Panel.States')")
    page.reload()
    page.page.evaluate(
        """async (bytes) => {
            const file = new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" });
            await app.handleFile(file);
        }""",
        list(png),
    )
    page.wait_for_cards(4)
    assert page.seeds() == seeds[:4], "keep_top of them are in the picture"
    page.look_at()
    page.act(2, "nsp-use")
    page.wait_for_title("Your pick goes on")
    winner = page.last_entry()["outputs"]["10"]["noise_search"][0]["images"][0]["winner"]
    assert f"seed {winner['seed']}" == seeds[2]


def test_a_batch_has_a_search_for_each_image(page):
    workflow = graph(choose="me", candidates=4)
    next(node for node in workflow["nodes"] if node["id"] == 4)["widgets_values"][2] = 2
    page.load(workflow)
    page.queue()
    page.wait_for_title("Your turn")
    state = page.last_entry()["outputs"]["10"]["noise_search_state"][0]
    boards = [[f"seed {one['seed']}" for one in search["board"]] for search in state["searches"]]
    assert len(boards) == 2 and page.seeds() == boards[0]
    page.panel.get_by_role("button", name="Image 2").click()
    assert page.seeds() == boards[1]
    page.act(1, "nsp-use")
    page.wait_for_title("Your pick goes on")
    report = page.last_entry()["outputs"]["10"]["noise_search"][0]
    assert [f"seed {image['winner']['seed']}" for image in report["images"]] == [boards[0][0], boards[1][1]]


def test_use_says_that_another_image_of_the_batch_has_no_candidate_yet(page):
    workflow = graph(candidates=2000)
    next(node for node in workflow["nodes"] if node["id"] == 4)["widgets_values"][2] = 2
    page.load(workflow)
    page.queue()
    page.wait_for_cards(2)
    words = "Image 2 has no candidate that can go on yet"
    page.cards.first.locator(".nsp-use").dispatch_event("click")
    page.wait("panel.querySelector('.nsp-said').textContent.startsWith(argument)", words)
    page.cards.first.locator(".nsp-open-card").dispatch_event("click")
    page.page.locator(".nsp-primary").click()
    assert page.page.locator(".nsp-dialog .nsp-said").inner_text().startswith(words)
    page.page.keyboard.press("Escape")
    assert page.title().startswith("Searching") and page.widget("pick") == ""
    page.server.interrupt()
    page.wait_for_title("Cancelled")


def test_the_seed_is_copied(pages):
    page = pages()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    found(page)
    page.act(1, "Copy seed")
    page.wait("panel.querySelector('.nsp-said').textContent.includes('copied')")
    assert f"seed {page.page.evaluate('navigator.clipboard.readText()')}" == page.seeds()[1]


def choose_from_menu(page, words):
    """Press an entry of the menu of the search node or of the sampler in its place."""
    page.page.evaluate(
        """words => {
            const node = app.canvas.graph.nodes.find(n => ["NoiseSearchKSampler", "KSampler"].includes(n.type));
            app.collectNodeMenuItems(node).find(item => item?.content?.startsWith(words)).callback();
        }""",
        words,
    )


def types(page):
    return page.page.evaluate("app.canvas.graph.nodes.map(n => n.type).sort()")


def test_the_menu_swaps_the_sampler_and_back_inside_a_subgraph(page):
    page.load(graph())
    page.page.evaluate(
        """() => {
            const made = app.graph.convertToSubgraph(new Set([app.graph.getNodeById(10)]));
            app.canvas.setGraph(made.subgraph);
        }"""
    )
    page.queue()
    page.wait_for_title("Found the best of 8")
    best = page.seeds()[0].removeprefix("seed ")
    choose_from_menu(page, "Plain sampler with the winner's seed")
    assert "KSampler" in types(page) and "NoiseSearchKSampler" not in types(page)
    seed = (
        "app.canvas.graph.nodes.find(n => n.type === 'KSampler').widgets.find(w => w.name === 'seed').value"
    )
    assert str(page.page.evaluate(seed)) == best
    choose_from_menu(page, "Search with this sampler")
    assert "NoiseSearchKSampler" in types(page) and "NoiseSearchLoadVerifier" in types(page)
    judged = "app.canvas.graph.nodes.find(n => n.type === 'NoiseSearchKSampler').inputs.find(i => i.name === 'verifier').link"
    assert page.page.evaluate(judged) is not None
    assert page.panel.is_visible()


# -- keys, sizes, colours -------------------------------------------------------------------------------------------------------


def test_the_keyboard_is_enough(page):
    found(page, seed=7)
    page.cards.first.locator(".nsp-open-card").focus()
    page.page.keyboard.press("Enter")
    dialog = page.page.locator(".nsp-dialog")
    dialog.wait_for()
    heading = dialog.locator("h2")
    assert heading.inner_text() == "#1 of 8"
    page.page.keyboard.press("ArrowRight")
    assert heading.inner_text() == "#2 of 8"
    flip = dialog.get_by_role("button", name="Flip")
    place = next(i for i, seed in enumerate(page.seeds()) if seed != "seed 7" and i > 0)
    while not heading.inner_text().startswith(f"#{place + 1} "):
        page.page.keyboard.press("ArrowRight")
    source = dialog.locator(".nsp-large").get_attribute("src")
    page.page.keyboard.press("f")
    assert flip.get_attribute("aria-pressed") == "true"
    assert dialog.locator(".nsp-large").get_attribute("src") != source
    page.page.keyboard.press("f")
    assert dialog.locator(".nsp-large").get_attribute("src") == source
    page.page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert page.page.evaluate("document.activeElement.classList.contains('nsp-open-card')"), (
        "the focus is lost"
    )
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Delete")  # takes a selected node away, when the canvas hears it
    assert page.page.evaluate("app.graph.getNodeById(10) !== null")
    page.cards.first.locator(".nsp-use").focus()
    page.page.keyboard.press("Enter")
    page.wait_for_title("Your pick goes on")


def unnamed(page):
    return page.page.evaluate(
        """() => [...document.querySelectorAll('.nsp button, .nsp select, .nsp-dialog button, .nsp [role=progressbar], .nsp svg[role=img]')]
            .filter(e => !(e.getAttribute('aria-label') || e.textContent.trim())).map(e => e.outerHTML)"""
    )


def test_everything_has_a_name_for_screen_readers(page):
    page.load(graph(candidates=2000))
    page.queue()
    page.wait_for_cards(3)
    assert unnamed(page) == []
    page.panel.locator(".nsp-stop").click()
    page.wait_for_title("Found the best of")
    page.cards.first.locator(".nsp-open-card").click()
    assert unnamed(page) == []


OVERLAPS = """() => {
    const panel = document.querySelector('.nsp'), wrong = [];
    const seen = e => !e.hidden && e.getClientRects().length && getComputedStyle(e).display !== 'none';
    const parts = [...panel.querySelectorAll('.nsp-head, .nsp-body > *')].filter(seen);
    const boxes = parts.map(e => [e.className, e.getBoundingClientRect()]);
    const outer = panel.getBoundingClientRect();
    boxes.forEach(([name, box], i) => {
        if (box.left < outer.left - 1 || box.right > outer.right + 1) wrong.push(`${name} sticks out`);
        boxes.slice(i + 1).forEach(([other, box2]) => {
            if (box.bottom > box2.top + 1 && box2.bottom > box.top + 1) wrong.push(`${name} over ${other}`);
        });
    });
    const cards = [...panel.querySelectorAll('.nsp-card')].map(e => e.getBoundingClientRect());
    cards.forEach((a, i) => cards.slice(i + 1).forEach(b => {
        if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1) wrong.push('cards overlap');
    }));
    if (panel.scrollWidth > panel.clientWidth + 1) wrong.push('wider than its node');
    return wrong;
}"""


@pytest.mark.parametrize("width", [230, 390, 700])
@pytest.mark.parametrize("scale", [0.66, 1.0])
def test_nothing_overlaps(width, scale, page):
    found(page)
    page.page.evaluate("width => app.graph.getNodeById(10).setSize([width, 1400])", width)
    page.look_at(scale=scale)
    page.page.wait_for_timeout(300)
    assert page.page.evaluate(OVERLAPS) == []
    page.photograph(f"width-{width}-{scale}")


def test_the_large_view_fits_a_phone(pages):
    page = pages(size=(390, 800))
    found(page)
    page.cards.first.locator(".nsp-open-card").dispatch_event("click")
    box = page.page.locator(".nsp-dialog").bounding_box()
    assert 0 <= box["x"] and box["x"] + box["width"] <= 390
    assert page.page.evaluate(
        "document.querySelector('.nsp-dialog').scrollWidth <= document.querySelector('.nsp-dialog').clientWidth"
    )
    assert page.page.locator(".nsp-dialog .nsp-primary").bounding_box()["width"] > 200
    page.photograph("phone", whole=True)


CONTRAST = """() => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
    const node = window.LiteGraph.vueNodesMode ? null : (app.graph.getNodeById(10).renderingBgColor ?? window.LiteGraph.NODE_DEFAULT_BGCOLOR);
    const over = (top, ground) => top.slice(0, 3).map((c, i) => c * top[3] / 255 + ground[i] * (1 - top[3] / 255));
    const light = colour => { const [r, g, b] = colour.map(c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const ground = over(rgba(getComputedStyle(document.querySelector('.nsp')).backgroundColor), rgba(node));
    return Object.fromEntries(['.nsp-title', '.nsp-time', '.nsp-why', '.nsp-from', '.nsp-score', '.nsp-legend'].map(kind => {
        const text = over(rgba(getComputedStyle(document.querySelector(kind)).color), ground);
        const [a, b] = [light(text), light(ground)].sort((x, y) => y - x);
        return [kind, (a + 0.05) / (b + 0.05)];
    }));
}"""


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_texts_can_be_read(theme, pages):
    page = pages(theme=theme)
    found(page)
    contrast = page.page.evaluate(CONTRAST)
    assert min(contrast.values()) >= 4.5, contrast
    page.photograph(theme, whole=True)


# -- messages -------------------------------------------------------------------------------------------------------------------


def test_few_and_small_messages(page):
    page.load(graph(candidates=300, steps=2))
    page.queue()
    page.wait_for_title("Found the best of 300")
    times = [at for at, _, _ in page.frames]
    assert len(times) >= 4
    for at in times:
        second = [size for other, size, _ in page.frames if at <= other < at + 1]
        assert len(second) <= 5 and sum(second) <= 200_000, (
            second
        )  # the clocks of two processes: 4, give or take one
    assert "base64" not in json.dumps([state for _, _, state in page.frames])


# -- the journal's setting and command, another workflow's widget ------------------------------------------------------------------


def test_the_journals_setting_and_command(page):
    page.page.evaluate("app.extensionManager.command.execute('NoiseSearch.ClearJournal')")
    toast = page.page.locator(".p-toast-message").filter(has_text="journal")
    toast.first.wait_for()
    assert "The search journal is empty" in toast.first.inner_text()
    page.page.evaluate("app.extensionManager.command.execute('Comfy.ShowSettingsDialog')")
    dialog = page.page.locator(".p-dialog, [role=dialog]").first
    dialog.wait_for()
    dialog.get_by_role("textbox").first.fill("journal of searches")
    label = dialog.get_by_text("Keep a journal of searches")
    label.first.wait_for()
    setting = "NoiseSearch.Journal.Enabled"
    page.page.evaluate("name => app.extensionManager.setting.set(name, false)", setting)
    until = time.monotonic() + 10
    while page.server.get("/settings").get(setting) is not False:
        assert time.monotonic() < until
        page.page.wait_for_timeout(50)
    page.server.post(f"/settings/{setting}", False)  # as the server was started


# -- the floor ------------------------------------------------------------------------------------------------------------------------


def test_the_oldest_front_end_does_without_an_error(chrome, tmp_path):
    with panel_page.comfyui(tmp_path, panel_page.browser.OLDEST) as server:
        page = Page(chrome, server)
        found(page)
        assert page.cards.count() == 8
        page.photograph("oldest", whole=True)
        assert page.said == []
        page.close()
        page = Page(chrome, server, vue=True)
        page.load(graph())
        page.queue()
        page.wait_for_entries(2)
        assert page.said == []
        page.close()
