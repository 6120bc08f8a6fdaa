"""What a newcomer meets in a real browser, on the oldest front end and on the newest: search, templates, help, judges' files, seeds."""

import json

import panel_page
import pytest
from panel_page import Page
from test_finding import FIRST

import browser
from noisesearch.nodes import NODES

pytestmark = pytest.mark.browser
PANE = 260  # pixels: as wide as the page shows help, and somewhat less on the oldest front end

NAMES = {node.GET_SCHEMA().node_id: node.GET_SCHEMA().display_name for node in NODES}


@pytest.fixture(scope="module")
def chrome():
    with panel_page.chromium() as running:
        yield running


@pytest.fixture(scope="module", params=[browser.OLDEST, "newest"])
def page(request, chrome, tmp_path_factory):
    with panel_page.comfyui(tmp_path_factory.mktemp("door"), request.param) as server:
        page = Page(chrome, server)
        page.page.keyboard.press("Escape")
        yield page
        page.close()
        assert page.said == []


def put(page, kind, name="node"):
    """An empty graph with one node, which scripts find as window.NAME."""
    page.page.evaluate(
        """([kind, name]) => {
            app.graph.clear();
            window[name] = LiteGraph.createNode(kind);
            window[name].pos = [500, 200];
            app.graph.add(window[name]);
            Object.assign(app.canvas.ds, { scale: 1 });
            app.canvas.ds.offset[0] = app.canvas.ds.offset[1] = 0;
            app.canvas.setDirty(true, true);
        }""",
        [kind, name],
    )


@pytest.mark.parametrize("typed", FIRST)
def test_the_node_search_finds_the_right_node_first(typed, page):
    """By names alone: the server under test is too old to tell the page of aliases."""
    toggle = "app.extensionManager.command.execute('Workspace.SearchBox.Toggle')"
    page.page.evaluate(toggle)
    page.page.wait_for_timeout(800)
    page.page.keyboard.type(typed, delay=20)
    page.page.wait_for_function(
        """() => [...document.querySelectorAll("[role=option]")].some((e) => e.innerText.includes("noise-search"))"""
    )
    page.page.wait_for_timeout(500)
    shown = [text for text in page.page.locator("[role=option]").all_inner_texts() if text.strip()]
    page.page.evaluate(toggle)
    page.page.wait_for_timeout(300)
    assert shown[0].replace("\xa0", " ").startswith(NAMES[FIRST[typed][0]])


def test_combine_judges_shows_the_weights_of_what_is_connected(page):
    put(page, "NoiseSearchVerifierEnsemble", "both")
    shown = page.page.evaluate(
        """() => {
            const judge = LiteGraph.createNode("NoiseSearchLoadVerifier");
            app.graph.add(judge);
            const weights = () => both.widgets.filter((w) => w.name.startsWith("weight") && !w.hidden).map((w) => w.name);
            const found = [weights()];
            judge.connect(0, both, 0);
            judge.connect(0, both, 2);
            found.push(weights());
            both.disconnectInput(0);
            found.push(weights(), both.widgets.filter((w) => w.name.startsWith("weight")).map((w) => w.value));
            return found;
        }"""
    )
    assert shown == [[], ["weight_1", "weight_3"], ["weight_3"], [1] * 8]


def test_load_judge_says_which_file_a_judge_lacks(page):
    put(page, "NoiseSearchLoadVerifier", "judge")
    told = page.page.evaluate(
        """() => {
            const label = judge.widgets.find((w) => w.name === "scorer").options.getOptionLabel;
            return ["ImageReward", "image quality (BRISQUE)"].map(label);
        }"""
    )
    assert told == ["ImageReward (needs ImageReward.pt, 1.8 GB)", "image quality (BRISQUE)"]


def test_increment_goes_on_behind_the_candidates(page):
    """And so does decrement; fixed stays, and what was typed is not rounded."""
    put(page, "NoiseSearchKSampler", "search")
    seeds = page.page.evaluate(
        """() => {
            const widget = (name) => search.widgets.find((w) => w.name === name);
            const control = widget("control_after_generate"), seed = widget("seed");
            widget("candidates").value = 16;
            seed.value = 101;
            const found = [control.value];
            for (const how of ["increment", "decrement", "fixed"]) {
                control.value = how;
                control.beforeQueued?.();
                control.afterQueued?.();
                found.push(seed.value);
            }
            return found;
        }"""
    )
    assert seeds == ["fixed", 117, 101, 101]


def test_every_example_opens_with_all_of_it_in_view(page):
    for path in sorted((panel_page.ROOT / "example_workflows").glob("*.json")):
        page.page.evaluate("workflow => app.loadGraphData(workflow)", json.loads(path.read_text("utf-8")))
        page.page.wait_for_function("app.graph.nodes.length > 1")
        page.page.wait_for_timeout(700)
        page.page.keyboard.press("Escape")
        outside = page.page.evaluate(
            """() => app.graph.nodes.filter((node) => {
                const { scale, offset } = app.canvas.ds;
                const [left, top] = [(node.pos[0] + offset[0]) * scale, (node.pos[1] + offset[1]) * scale];
                const [right, bottom] = [left + node.size[0] * scale, top + node.size[1] * scale];
                return left < 0 || top < 0 || right > innerWidth || bottom > innerHeight;
            }).map((node) => node.title)"""
        )
        assert outside == [], path.stem


def test_the_template_browser_shows_our_examples_with_pictures(page):
    page.page.evaluate("app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.page.get_by_text("noise-search", exact=True).first.click()
    page.page.get_by_text("prompts_overnight").first.wait_for()
    page.page.wait_for_timeout(1500)
    page.photograph("templates", whole=True)
    shown, broken = page.page.evaluate(
        """() => {
            const pictures = [...document.querySelectorAll("[role=dialog] img")].filter((i) => i.src && i.complete);
            return [pictures.length, pictures.filter((i) => !i.naturalWidth).length];
        }"""
    )
    page.page.keyboard.press("Escape")
    page.page.wait_for_timeout(500)
    assert shown > 3 and broken == 0


@pytest.mark.parametrize("kind", ["NoiseSearchKSampler", "NoiseSearchPaths", "NoiseSearchVLMJudge"])
def test_a_help_page_needs_no_scrolling_sideways(kind, page):
    put(page, kind)
    for _ in range(6):  # the toolbox follows the selection after a while
        page.page.mouse.click(640, 222)
        page.page.wait_for_timeout(700)
        if page.page.evaluate(
            """() => {
                const buttons = [...document.querySelectorAll("[class*=selection-toolbox] button")];
                const info = buttons.find((b) => /info|question/i.test(b.innerHTML + b.getAttribute("aria-label") + b.dataset.testid));
                info?.click();
                return Boolean(info);
            }"""
        ):
            break
        page.page.mouse.click(300, 700)
    else:
        pytest.fail("no button opens the help")
    page.page.get_by_text("Inputs", exact=True).last.wait_for()
    page.page.wait_for_timeout(500)
    page.photograph(f"help_{kind}", whole=True)
    wide, room = page.page.evaluate(
        """() => {
            const title = [...document.querySelectorAll("h2")].filter((h) => h.textContent.trim() === "Inputs").pop();
            return [title.parentElement.scrollWidth, title.parentElement.clientWidth];
        }"""
    )
    assert 150 < room < 400 and wide <= max(room, PANE) * 1.15, (
        "a file name may stick out a little, a table would by far"
    )
