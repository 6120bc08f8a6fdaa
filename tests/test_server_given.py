"""What strangers' workflows hold, through the real server: refused when queued where that can be, and its worker lives on."""

import io

import pytest
from PIL import Image
from test_server_search import base, searching, stock

from comfy_server import ServerError

SURROGATE = "\ud800"


def changed(graph, node, **inputs):
    graph[node]["inputs"].update(inputs)
    return graph


def without(graph, node, *inputs):
    for name in inputs:
        graph[node]["inputs"].pop(name)
    return graph


def classes(text):
    """A judge of classes, and a node that shows it, so that it runs."""
    inputs = {"classes": text, "target": "", "score": "logit", "file": "auto", "device": "auto"}
    return {
        "1": {"class_type": "NoiseSearchZeroShotClassifier", "inputs": inputs},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }


def count(**inputs):
    sampling = dict(searching()["10"]["inputs"], **inputs)
    for name in ("vae", "verifier", "candidates", "keep_top"):
        del sampling[name]
    return base() | {
        "10": {"class_type": "NoiseSearchCountNFE", "inputs": sampling},
        "12": {"class_type": "PreviewAny", "inputs": {"source": ["10", 1]}},
    }


QUEUED = {
    "scheduler": (
        lambda: changed(searching(), "10", scheduler="beta57"),
        "There is no scheduler 'beta57'. There are: .*simple",
    ),
    "sampler": (lambda: count(sampler_name="eulr"), "There is no sampler 'eulr'. There are: .*euler"),
    "lone surrogate": (
        lambda: changed(searching(), "10", sampler_name=SURROGATE),
        r"There is no sampler '.ud800'",
    ),
    "lone surrogate in a file": (
        lambda: changed(searching(), "5", file=SURROGATE),
        r"There is no file '.ud800'",
    ),
    "table": (lambda: changed(searching(), "10", scheduler={}), "There is no scheduler {}"),
    "10 MB": (lambda: changed(searching(), "5", scorer="x" * 10_000_000), "There is no scorer 'xxx"),
    "no verifier": (lambda: without(searching(), "10", "verifier"), "A search needs a verifier"),
    "budget without a verifier": (
        lambda: changed(without(searching(), "10", "verifier"), "10", candidates=1, budget_nfe=100),
        "A search needs a verifier",
    ),
    "candidates": (lambda: changed(searching(), "10", candidates=0), "candidates must be from 1 to 10000"),
}
RUNNING = {
    "lone surrogate in classes": (
        lambda: classes(f"cat\n{SURROGATE}"),
        "half a character .a lone surrogate.",
    ),
    "lone surrogate in the prompt": (
        lambda: changed(searching(), "10", prompt=f"a {SURROGATE} cat"),
        "lone surrogate",
    ),
    "nothing for a choice": (
        lambda: changed(searching(), "10", scheduler=None),
        "There is no scheduler None",
    ),
}


def pixels(png):
    return Image.open(io.BytesIO(png)).tobytes()


@pytest.fixture
def alive(server):
    """The server, which still runs something ordinary afterwards."""
    yield server
    entry = server.run(count(steps=2, seed=7), timeout=60)
    assert entry["outputs"]["12"]["text"] == ["2"]


@pytest.mark.parametrize("name", QUEUED)
def test_refused_when_queued(alive, name):
    make, message = QUEUED[name]
    with pytest.raises(ServerError, match=message) as refused:
        alive.queue(make())
    assert "HTTP 400" in str(refused.value) and len(str(refused.value)) < 20_000


@pytest.mark.parametrize("name", RUNNING)
def test_refused_when_run(alive, name):
    make, message = RUNNING[name]
    with pytest.raises(ServerError, match=message) as refused:
        alive.run(make(), timeout=60)
    assert "NoiseSearch" in str(refused.value).split("raised")[0]


def test_a_verifier_is_not_missed_where_it_may_come(alive):
    """Linked inputs are not known when a graph is queued."""
    graph = without(searching({"class_type": "NoiseSearchRandom", "inputs": {}}), "10", "verifier")
    with pytest.raises(ServerError, match="raised ValueError: A search needs a verifier"):
        alive.run(graph, timeout=60)
    graph = without(searching(), "10", "verifier")
    graph["78"] = {"class_type": "PrimitiveInt", "inputs": {"value": 3}}
    with pytest.raises(ServerError, match="raised ValueError: A search needs a verifier"):
        alive.run(changed(graph, "10", candidates=["78", 0]), timeout=60)


def test_one_candidate_without_a_verifier_is_the_stock_image(alive):
    one = changed(without(searching(seed=21), "10", "verifier"), "10", candidates=1)
    (mine,) = alive.images(alive.run(one, timeout=60))["11"]
    (theirs,) = alive.images(alive.run(stock(21), timeout=60))["12"]
    assert pixels(mine) == pixels(theirs)
