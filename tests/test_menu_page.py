"""The sampler's menu in the real page: there, back, undone in one step, inside a subgraph, and from the default graph to a chosen image."""

import contextlib
import functools
import time

import panel_page
import pytest
import tiny_checkpoint
from panel_page import Page, graph

pytestmark = pytest.mark.browser

WIRES = """node => Object.fromEntries(node.inputs.filter(i => i.link != null).map(i => {
    const link = node.graph.getLink?.(i.link) ?? node.graph.links[i.link] ?? node.graph.links.get(i.link);
    return [i.name, node.graph.getNodeById(link.origin_id)?.type ?? "edge"]; }))"""
CHOOSE = """words => {
    const menu = app.extensions.find(e => e.name === "NoiseSearch.Menu");
    const all = graph => graph.nodes.flatMap(n => [n, ...(n.subgraph ? all(n.subgraph) : [])]);
    for (const node of all(app.rootGraph ?? app.graph)) {
        const item = menu.getNodeMenuItems(node).find(i => i.content.startsWith(words));
        if (item) return item.callback ? (item.callback(), "") : item.content;
    }
    return "no node has it";
}"""


CHECKPOINT = "tiny.ckpt"


def on(*pages):
    """On front ends ("carried" by ComfyUI 0.3.75, or "newest") with "classic" nodes or with Nodes 2.0, "nodes2"."""
    return pytest.mark.parametrize("page", pages, ids=["-".join(page) for page in pages], indirect=True)


ONE = on(("carried", "classic"))
EACH = on(("carried", "classic"), ("carried", "nodes2"), ("newest", "classic"), ("newest", "nodes2"))


@pytest.fixture(scope="module")
def chrome():
    with panel_page.chromium() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """front end -> its server, which the next test with it finds running."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def running(front_end):
            folder = tmp_path_factory.mktemp(front_end)
            tiny_checkpoint.write(folder / "base" / "models" / "checkpoints" / CHECKPOINT)
            return stack.enter_context(panel_page.comfyui(folder, front_end))

        yield running


@pytest.fixture
def page(request, chrome, server):
    front_end, nodes = request.param
    page = Page(chrome, server(front_end), vue=nodes == "nodes2")
    yield page
    said = page.said
    page.close()
    assert said == []


def choose(page, words):
    assert page.page.evaluate(CHOOSE, words) == ""
    page.page.wait_for_timeout(400)  # the page takes note of a change for undo


def types(page):
    return page.page.evaluate("app.graph.nodes.map(n => n.type).sort()")


def sampler(page, kind):
    """(wires, seed, steps) of the one node of a type, in the graph or a subgraph."""
    return page.page.evaluate(
        f"""kind => {{
            const all = graph => graph.nodes.flatMap(n => [n, ...(n.subgraph ? all(n.subgraph) : [])]);
            const node = all(app.rootGraph ?? app.graph).find(n => n.type === kind);
            const value = name => node.widgets.find(w => w.name === name).value;
            return [({WIRES})(node), value("seed"), value("steps")];
        }}""",
        kind,
    )


KEPT = {
    "model": "NoiseSearchLoadDemoModel",
    "positive": "CLIPTextEncode",
    "negative": "CLIPTextEncode",
    "latent_image": "EmptySD3LatentImage",
}
SEARCHES = {**KEPT, "vae": "NoiseSearchLoadDemoModel", "verifier": "NoiseSearchLoadVerifier"}


@EACH
def test_a_winners_seed_goes_back_into_a_plain_sampler_and_from_there_into_a_search(page):
    page.load(graph(candidates=6))
    page.queue()
    page.wait_for_title("Found")
    seed = int(page.seeds()[0].removeprefix("seed "))
    before = types(page)
    choose(page, "Plain sampler")
    assert sampler(page, "KSampler") == [KEPT, seed, 6]
    assert not any(kind in types(page) for kind in ("NoiseSearchKSampler", "NoiseSearchLoadVerifier"))
    assert "VAEDecode" in types(page)
    choose(page, "Search with this sampler")
    assert sampler(page, "NoiseSearchKSampler") == [SEARCHES, seed, 6]
    assert sorted([*before, "VAEDecode"]) == types(page)


@ONE
def test_one_step_takes_a_swap_back(page):
    page.load(graph())
    page.page.wait_for_timeout(400)
    before = types(page)
    choose(page, "Plain sampler")
    assert types(page) != before
    page.page.locator("#graph-canvas").press("Control+z")
    page.page.wait_for_function(
        "before => JSON.stringify(app.graph.nodes.map(n => n.type).sort()) === JSON.stringify(before)",
        arg=before,
    )


@ONE
def test_inside_a_subgraph_too(page):
    seed = next(panel_page.SEEDS)
    page.load(graph(seed=seed))
    choose(page, "Plain sampler")
    page.page.evaluate(
        "app.graph.convertToSubgraph(new Set(app.graph.nodes.filter(n => n.type === 'KSampler')))"
    )
    edges = dict.fromkeys(KEPT, "edge")
    assert sampler(page, "KSampler")[0] == edges
    choose(page, "Search with this sampler")
    wires, kept, _ = sampler(page, "NoiseSearchKSampler")
    assert wires == {**edges, "verifier": "NoiseSearchLoadVerifier"} and kept == seed


def title_of(page, kind):
    """Put the title of the node of a type into view; where it is on the page."""
    at = page.page.evaluate(
        """kind => {
            const node = app.graph.nodes.find(n => n.type === kind);
            app.canvas.ds.scale = 0.8;
            app.canvas.ds.offset[0] = 500 - node.pos[0];
            app.canvas.ds.offset[1] = 500 - node.pos[1];
            app.canvas.draw(true, true);
            const [x, y] = app.canvas.ds.convertOffsetToCanvas([node.pos[0] + 60, node.pos[1] - 12]);
            const box = app.canvas.canvas.getBoundingClientRect();
            return [box.left + x, box.top + y];
        }""",
        kind,
    )
    page.page.wait_for_timeout(300)
    return at


def press_in_menu(page, kind, words):
    """Right-click the title of the node of a type and press an entry of the menu that opens."""
    page.page.mouse.click(*title_of(page, kind), button="right")
    page.page.get_by_text(words, exact=True).click()


# With Nodes 2.0 the carried front end shows a menu of its own, which asks no extension.
@on(("carried", "nodes2"))
def test_a_button_above_the_selected_node_where_the_menu_asks_no_extension(page):
    page.load(graph())
    before = types(page)

    def press(kind, label, icon):
        title_of(page, kind)  # the button is above it
        page.page.evaluate(
            "kind => app.canvas.selectItems([app.graph.nodes.find(n => n.type === kind)])", kind
        )
        button = page.page.locator(".selection-toolbox button").filter(has=page.page.locator(icon))
        button.hover()
        page.page.get_by_text(label, exact=True).wait_for()
        button.click()

    press("NoiseSearchKSampler", "Plain sampler with the winner's seed", ".pi-image")
    assert sampler(page, "KSampler")[0] == KEPT
    press("KSampler", "Search with this sampler", ".pi-th-large")
    assert sampler(page, "NoiseSearchKSampler")[0] == SEARCHES
    assert sorted([*before, "VAEDecode"]) == types(page)


@on(("carried", "nodes2"))
def test_a_command_without_a_node_says_what_to_select(page):
    page.load(graph())
    before = types(page)
    page.page.evaluate("app.canvas.deselectAll()")
    page.page.evaluate("app.extensionManager.command.execute('NoiseSearch.SearchWithThisSampler')")
    page.page.get_by_text("Search with this sampler: select one sampler first.").wait_for()
    assert types(page) == before


# ComfyUI's default graph, as it has been since its beginning; the newest front end begins with one for a model of 4 GB.
DEFAULT = """checkpoint => {
    app.graph.clear();
    const add = (kind, pos, values = {}) => {
        const node = LiteGraph.createNode(kind);
        app.graph.add(node);
        node.pos = pos;
        for (const [name, value] of Object.entries(values)) node.widgets.find(w => w.name === name).value = value;
        return node;
    };
    const loader = add("CheckpointLoaderSimple", [0, 300], { ckpt_name: checkpoint });
    const wanted = add("CLIPTextEncode", [400, 100], { text: "scenery nature glass bottle landscape, purple galaxy bottle" });
    const unwanted = add("CLIPTextEncode", [400, 400], { text: "text, watermark" });
    const size = add("EmptyLatentImage", [400, 700], { width: 64, height: 64 });
    const sampler = add("KSampler", [900, 100], { steps: 8 });
    const decode = add("VAEDecode", [1300, 100]);
    const save = add("SaveImage", [1600, 100]);
    loader.connect(0, sampler, 0);
    loader.connect(1, wanted, 0);
    loader.connect(1, unwanted, 0);
    wanted.connect(0, sampler, 1);
    unwanted.connect(0, sampler, 2);
    size.connect(0, sampler, 3);
    sampler.connect(0, decode, 0);
    loader.connect(2, decode, 1);
    decode.connect(0, save, 0);
}"""


# With Nodes 2.0 the carried front end shows a menu of its own, which asks no extension: there only the classic nodes' menu is pressed.
@on(("carried", "classic"), ("newest", "nodes2"))
def test_from_the_default_graph_to_a_chosen_image_in_three_actions(page, request):
    """The checkpoint has random weights, image and steps are small enough for a CPU, and the usual judge has no file."""
    page.page.evaluate(DEFAULT, CHECKPOINT)
    page.page.wait_for_timeout(400)
    runs, began = len(page.server.get("/history")), time.monotonic()

    press_in_menu(page, "KSampler", "Search with this sampler")  # the first action
    said = page.page.get_by_text("The judge is image quality (BRISQUE).").first
    said.wait_for()
    assert "ImageReward needs ImageReward.pt, 1.8 GB" in said.inner_text()

    page.page.get_by_role("button", name="Run", exact=True).first.click()  # the second
    page.wait_for_title("Found the best of")
    entry = page.wait_for_entries(runs + 1)[-1]
    assert entry["status"]["status_str"] == "success"
    found = page.seeds()
    assert len(found) == 8 and len(set(found)) == 8
    search = page.page.evaluate("app.graph.nodes.find(n => n.type === 'NoiseSearchKSampler').id")
    candidates = entry["outputs"][str(search)]["noise_search"][0]["images"][0]["candidates"]
    scores = {one["scores"][0] for one in candidates}
    assert len(scores) == 8 and None not in scores, "not all are judged"

    page.look_at(search)
    page.act(1, "nsp-use")  # the third
    page.wait_for_title("Your pick goes on")
    entry = page.wait_for_entries(runs + 2)[-1]
    took = time.monotonic() - began
    chosen = entry["outputs"][str(search)]["noise_search"][0]["images"][0]["winner"]
    assert f"seed {chosen['seed']}" == found[1]
    saved = [
        one
        for output in entry["outputs"].values()
        for one in output.get("images", [])
        if one["type"] == "output"
    ]
    assert len(saved) == 1, "no one image was saved"
    page.photograph(f"three-actions-{request.node.callspec.id}", whole=True)
    assert took <= 60, f"{took:.0f} s"
