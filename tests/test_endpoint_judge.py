"""The judge behind an endpoint that docs/own_verifier.md shows, against a stand-in on the same machine that speaks the protocol."""

import asyncio
import base64
import json
import math
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO

import numpy as np
import pytest
import torch
from graphs import Graph
from PIL import Image
from test_verifiers_docs import EXAMPLES
from verifier_contract import VerifierContract
from verifier_helpers import images

from noisesearch.search.algorithms import RandomSearch
from noisesearch.session.fingerprint import judge_key
from noisesearch.session.judging import Judge
from noisesearch.verifiers.base import Batch

(CODE,) = (code for code in EXAMPLES if "EndpointJudge" in code)
KEY, PROMPT = "sk-secret-42", "a cat on a roof"


class Stub(BaseHTTPRequestHandler):
    """Says yes as surely as the picture is bright."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers["Authorization"], body))
        picture, text = body["messages"][0]["content"]
        png = base64.b64decode(picture["image_url"]["url"].partition("base64,")[2])
        bright = float(np.asarray(Image.open(BytesIO(png))).mean() / 255)
        words = [
            {"token": " Yes", "logprob": math.log(bright + 1e-9)},
            {"token": "No", "logprob": math.log(1.1 - bright)},
        ]
        answer = {"choices": [{"logprobs": {"content": [{"token": "Yes", "top_logprobs": words}]}}]}
        status, said = self.server.reply or (200, json.dumps(answer))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(said.encode())

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def stub():
    server = HTTPServer(("127.0.0.1", 0), Stub)
    server.asked, server.reply = [], None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def pack(stub, tmp_path_factory):
    """What the file defines, saved as the page says."""
    folder = tmp_path_factory.mktemp("endpoint_judge")
    url = f"http://127.0.0.1:{stub.server_port}/v1/chat/completions"
    (folder / "endpoint.json").write_text(json.dumps({"url": url, "model": "tiny-vl", "key": KEY}), "utf-8")
    found = {"__file__": str(folder / "__init__.py"), "__name__": "endpoint_judge"}
    exec(compile(CODE, "endpoint_judge", "exec"), found)  # noqa: S102  (our own text)
    return found


class TestEndpointJudge(VerifierContract):
    refused = ("",)

    @pytest.fixture(autouse=True)
    def _pack(self, pack):
        self.pack = pack

    def make(self):
        return self.pack["EndpointJudge"]()

    def variants(self):
        return [self.pack["EndpointJudge"]("Is it {}?")]


def test_the_score_is_the_probability_of_yes_to_the_question(pack, stub):
    stub.asked.clear()
    batch = Batch(images(2), PROMPT)
    scores = pack["EndpointJudge"]().score(batch)
    assert torch.allclose(scores, batch.images.mean((1, 2, 3)), atol=0.01)
    path, authorization, body = stub.asked[0]
    assert (path, authorization) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert (
        body["messages"][0]["content"][1]["text"]
        == f'Does this figure show "{PROMPT}"? Please answer Yes or No.'
    )
    assert (body["model"], body["max_tokens"], body["temperature"], body["logprobs"]) == (
        "tiny-vl",
        1,
        0,
        True,
    )


@torch.inference_mode()
def test_neither_address_nor_key_gets_into_report_journal_or_workflow(pack, stub):
    judge = pack["EndpointJudge"]()
    found = Graph.mixture("CONST").search(RandomSearch(), verifier=judge, candidates=3, prompt=PROMPT)
    schema = pack["EndpointJudgeNode"].define_schema()
    shown = [
        json.dumps(found.report),
        repr(vars(judge)),
        json.dumps(judge.fingerprint()),
        repr(schema.inputs),
    ]
    assert isinstance(judge_key(Judge(judge, PROMPT), False), bytes)
    for text in shown:
        assert KEY not in text and str(stub.server_port) not in text


@pytest.mark.parametrize("reply", [(401, "no"), (200, "not JSON"), (500, KEY)])
def test_an_endpoint_that_fails_ends_the_search_without_its_secrets(pack, stub, reply):
    stub.reply = reply
    try:
        with pytest.raises(RuntimeError, match="did not answer as it should") as error:
            Judge(pack["EndpointJudge"](), PROMPT)(images(2))
        assert KEY not in str(error.value) and "127.0.0.1" not in str(error.value)
    finally:
        stub.reply = None


def test_without_its_file_it_is_refused_before_anything_is_sampled(pack, tmp_path):
    found = {"__file__": str(tmp_path / "__init__.py"), "__name__": "endpoint_judge"}
    exec(compile(CODE, "endpoint_judge", "exec"), found)  # noqa: S102
    with pytest.raises(ValueError, match="needs endpoint.json beside its code"):
        Judge(found["EndpointJudge"](), PROMPT)


def test_comfyui_finds_its_node(pack):
    (node,) = asyncio.run(asyncio.run(pack["comfy_entrypoint"]()).get_node_list())
    assert node.define_schema().outputs[0].io_type == "NOISE_SEARCH_VERIFIER"
    (judge,) = node.execute("Is it {}?").result
    assert judge.question == "Is it {}?"
