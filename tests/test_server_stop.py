"""Stop, pick and pictures through the real server, as a client without a browser does it (docs/api.md)."""

import importlib.util
import io
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

_spec = importlib.util.spec_from_file_location(
    "server_search", Path(__file__).parent / "test_server_search.py"
)
server_search = sys.modules["server_search"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(server_search)
searching, picture = server_search.searching, server_search.picture

KEY = "a-key-that-nobody-guesses"


def queue(server, graph, **extra):
    return server.post("/prompt", {"prompt": graph, "extra_data": {"extra_pnginfo": extra} if extra else {}})[
        "prompt_id"
    ]


def ask(server, path, body, method="POST"):
    """(status, answer) of the route, whatever it is sent."""
    request = urllib.request.Request(
        server.url + path, body, {"Content-Type": "application/json"}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def saved(server, entry, node):
    return Image.open(io.BytesIO(server.images(entry)[node][0]))


def report_of(entry):
    return entry["outputs"]["10"]["noise_search"][0]


def test_stopped_over_http_it_keeps_the_best_and_goes_on_when_queued_again(server):
    graph = searching(candidates=5000, seed=77)
    prompt = queue(server, graph, noise_search={"run": KEY})
    stopped = 404
    for _ in range(300):
        stopped, answer = ask(server, "/noise_search/stop", json.dumps({"run": KEY}).encode())
        if stopped == 200:
            break
        time.sleep(0.05)
    assert stopped == 200 and answer == {"stopped": 1}
    first = report_of(server.wait(prompt, timeout=60))
    assert first["images"][0]["stopped"] == "stopped by hand"
    assert 1 <= len(first["images"][0]["candidates"]) < 5000 and first["images"][0]["winner"]["scores"]
    assert ask(server, "/noise_search/stop", json.dumps({"run": KEY}).encode())[0] == 404
    again = queue(server, graph, noise_search={"run": KEY + "2"})
    for _ in range(300):
        if ask(server, "/noise_search/stop", json.dumps({"run": KEY + "2"}).encode())[0] == 200:
            break
        time.sleep(0.05)
    entry = server.wait(again, timeout=60)
    cached = next(m for name, m in entry["status"]["messages"] if name == "execution_cached")["nodes"]
    assert "10" not in cached and report_of(entry)["images"][0]["stopped"] == "stopped by hand"


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"null", b"7", b'{"run": null}', b'{"run": []}', b'{"run": "guess"}', b"\xff\xfe", b"[" * 5000,
     b'{"run": "' + b"x" * 10_000 + b'"}', json.dumps({"run": "\ud800"}).encode(), b'{"run": "a", "run": "b"}'],
)  # fmt: skip
def test_the_route_answers_404_to_all_else(server, body):
    assert ask(server, "/noise_search/stop", body)[0] == 404
    assert ask(server, "/api/noise_search/stop", body)[0] == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_the_route_is_for_posts(server, method):
    assert ask(server, "/noise_search/stop", None, method)[0] in (404, 405)


def test_the_picture_carries_its_winner_from_the_cache_too(server):
    graph = searching(seed=31)
    first = server.run(graph, {"nodes": [], "extra": {}})
    graph["11"]["inputs"]["filename_prefix"] = "another prefix"
    second = server.run(graph, {"nodes": [], "extra": {}})
    cached = next(m for name, m in second["status"]["messages"] if name == "execution_cached")["nodes"]
    assert "10" in cached, "the search ran again, so the cache was not tried"
    for entry in (first, second):
        image = saved(server, entry, "11")
        record = json.loads(image.text["noise_search"])["10"]
        assert record == json.loads(image.text["workflow"])["extra"]["noise_search"]["10"]
        assert (
            record["winners"][0]["recipe"]["pieces"]
            == report_of(first)["images"][0]["winner"]["recipe"]["pieces"]
        )
        assert record["prompt"] == "digit three" and record["verifiers"] == ["digit classifier"]
        pixels = np.asarray(image.convert("RGB"))
        import hashlib

        assert (
            record["top"][0]["pixels"]
            == hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        )


def test_a_client_without_a_workflow_gets_the_record_too(server):
    image = saved(server, server.run(searching(seed=32)), "11")
    assert json.loads(image.text["noise_search"])["10"]["winners"]


def test_a_friend_without_the_judge_renders_the_picked_picture(server):
    """The judge's file is named, and not there: its loader must not even run."""
    made = server.run(searching(seed=33))
    record = json.loads(saved(server, made, "11").text["noise_search"])["10"]
    graph = searching(seed=33, pick=json.dumps(record))
    graph["5"]["inputs"]["scorer"] = "ImageReward"
    graph["5"]["inputs"]["file"] = "auto"
    graph["11"]["inputs"]["filename_prefix"] = "picked"
    entry = server.run(graph)
    assert abs(picture(server, entry, "11") - picture(server, made, "11")).max() == 0
    totals = report_of(entry)["totals"]
    assert (totals["nfe"], totals["verifier_calls"]) == (12, 0)
    assert not [note for note in report_of(entry)["notes"] if "was made with another" in note]


def test_when_i_choose_nothing_goes_on_before_a_pick(server):
    graph = searching(seed=34, choose="me")
    graph["13"] = {
        "class_type": "NoiseSearchReport",
        "inputs": {"report": ["10", 8], "top": 8, "width": 640, "theme": "dark"},
    }
    graph["14"] = {"class_type": "PreviewAny", "inputs": {"source": ["13", 0]}}
    waiting = server.run(graph, {"nodes": []})
    assert len(server.images(waiting)["13"]) == 1, "the report shows the shortlist meanwhile"
    assert waiting["outputs"]["14"]["text"][0].startswith("Winner: seed ")
    assert "11" not in waiting["outputs"] and report_of(waiting)["images"][0]["ranking"]
    graph["10"]["inputs"]["pick"] = json.dumps(report_of(waiting)["images"][0]["winner"]["recipe"])
    assert "11" in server.run(graph, {"nodes": []})["outputs"]


def test_without_a_browser_the_judge_chooses(server):
    entry = server.run(searching(seed=35, choose="me"))
    assert "11" in entry["outputs"]
    assert any("the judge chose" in note for note in report_of(entry)["notes"])
