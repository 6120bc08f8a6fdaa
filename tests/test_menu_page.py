"""The sampler's menu in the real page: there, back, undone in one step, and inside a subgraph."""

import panel_page
import pytest
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


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with panel_page.chromium() as chrome, panel_page.comfyui(tmp_path_factory.mktemp("menu")) as server:
        page = Page(chrome, server)
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


def test_a_winners_seed_goes_back_into_a_plain_sampler_and_from_there_into_a_search(page):
    page.load(graph(seed=77_000, candidates=6))
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


def test_one_step_takes_a_swap_back(page):
    page.load(graph(seed=78_000))
    page.page.wait_for_timeout(400)
    before = types(page)
    choose(page, "Plain sampler")
    assert types(page) != before
    page.page.locator("#graph-canvas").press("Control+z")
    page.page.wait_for_function(
        "before => JSON.stringify(app.graph.nodes.map(n => n.type).sort()) === JSON.stringify(before)",
        arg=before,
    )


def test_inside_a_subgraph_too(page):
    page.load(graph(seed=79_000))
    choose(page, "Plain sampler")
    page.page.evaluate(
        "app.graph.convertToSubgraph(new Set(app.graph.nodes.filter(n => n.type === 'KSampler')))"
    )
    edges = dict.fromkeys(KEPT, "edge")
    assert sampler(page, "KSampler")[0] == edges
    choose(page, "Search with this sampler")
    wires, seed, _ = sampler(page, "NoiseSearchKSampler")
    assert wires == {**edges, "verifier": "NoiseSearchLoadVerifier"} and seed == 79_000
