"""The panel's three stories, on the front end that ComfyUI 0.3.75 carries and on the newest one, with classic nodes and with Nodes 2.0."""

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


@pytest.fixture(scope="module", params=["carried", "newest"])
def pages(request, chrome, tmp_path_factory):
    with panel_page.comfyui(tmp_path_factory.mktemp(request.param), request.param) as server:
        yield lambda **options: Page(chrome, server, **options)


@pytest.fixture(params=[False, True], ids=["classic", "nodes2"])
def page(request, pages):
    page = pages(vue=request.param)
    yield page
    said = page.said
    page.close()
    assert said == []


def history(page):
    return len(page.server.get("/history"))


def test_run_and_see_it_grow(page, request):
    page.load(graph(candidates=20, steps=60, batch_size=2))  # ten waves, so that there is something to see
    assert page.title().startswith("Press Run")
    before = page.page.evaluate(
        "JSON.stringify(app.graph.serialize().nodes.find(n => n.id === 10).widgets_values)"
    )
    own = "app.graph.getNodeById(10).widgets.filter(w => w.name !== 'noise_search_panel').length"
    assert len(json.loads(before)) == page.page.evaluate(own), "the panel is saved with the workflow"
    page.queue()
    seen, left, until = [], [], time.monotonic() + panel_page.SECONDS
    while not page.title().startswith("Found"):
        assert time.monotonic() < until, f"it says {page.title()!r}, with {seen[-1:]} candidates"
        seen.append(page.cards.count())
        left.append(page.panel.locator(".nsp-time").inner_text())
        page.page.wait_for_timeout(60)
    assert seen == sorted(seen) and len(set(seen)) >= 4, "it did not grow"
    assert any(text.startswith("about ") and text.endswith(" left") for text in left)
    assert page.title() == "Found the best of 20" and page.cards.count() == 20
    loaded = "[...panel.querySelectorAll('.nsp-card img')].filter(i => i.complete && i.naturalWidth === 64).length === 20"
    page.wait(loaded)
    state = page.last_entry()["outputs"]["10"]["noise_search_state"][0]
    assert page.seeds() == [f"seed {one['seed']}" for one in state["searches"][0]["board"]]
    assert page.panel.locator(".nsp-curve circle").count() == 20
    assert page.panel.locator(".nsp-why").inner_text() == state["searches"][0]["why"]
    after = page.page.evaluate(
        "JSON.stringify(app.graph.serialize().nodes.find(n => n.id === 10).widgets_values)"
    )
    assert after == before
    page.photograph(f"grown-{request.node.callspec.id}", whole=True)


def test_stop_and_keep_the_best(page):
    page.load(graph(candidates=2000))
    count = history(page)
    page.queue()
    page.wait_for_cards(3)
    page.panel.locator(".nsp-stop").click()
    page.wait_for_title("Found the best of")
    entry = page.wait_for_entries(count + 1)[-1]
    image = entry["outputs"]["10"]["noise_search"][0]["images"][0]
    assert image["stopped"] == "stopped by hand" and 3 <= len(image["candidates"]) < 2000
    assert "You stopped it." in page.panel.locator(".nsp-why").inner_text()
    assert len(entry["outputs"]["11"]["images"]) == 1, "the best did not go on"


def test_use_this_one_also_after_f5(page):
    page.load(graph(candidates=6, choose="me"))
    count = history(page)
    page.queue()
    page.wait_for_title("Your turn: pick one")
    assert "11" not in page.wait_for_entries(count + 1)[-1]["outputs"], "it went on before the pick"
    seeds = page.seeds()
    page.reload()
    page.look_at()
    page.wait_for_title("Your turn: pick one")
    assert page.seeds() == seeds
    page.wait("[...panel.querySelectorAll('.nsp-card img')].every(i => i.naturalWidth === 64)")
    page.act(1, "nsp-use")
    page.wait_for_title("Your pick goes on")
    entry = page.wait_for_entries(count + 2)[-1]
    assert len(entry["outputs"]["11"]["images"]) == 1
    winner = entry["outputs"]["10"]["noise_search"][0]["images"][0]["winner"]
    assert f"seed {winner['seed']}" == seeds[1]
    assert json.loads(page.widget("pick"))["pieces"][0]["noise"]["seed"] == winner["seed"]
    assert page.seeds() == seeds, "the board is gone after the pick"
    assert page.cards.nth(1).locator(".nsp-badge").inner_text() == "your pick"
    page.panel.get_by_role("button", name="Search again").click()
    assert page.widget("pick") == ""
