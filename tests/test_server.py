"""The server that tests and demo use is real, runs prompts and says what went wrong."""

import io

import pytest
from PIL import Image

from comfy_server import ServerError

PICTURE = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 24, "height": 16, "batch_size": 2, "color": 0x3366CC},
    },
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "test"}},
}


def test_the_server_runs_a_prompt_and_returns_its_images(server):
    images = server.images(server.run(PICTURE, workflow={"nodes": []}))
    assert list(images) == ["2"] and len(images["2"]) == 2
    picture = Image.open(io.BytesIO(images["2"][0]))
    assert picture.size == (24, 16) and picture.getpixel((0, 0)) == (0x33, 0x66, 0xCC)
    assert picture.info["workflow"] == '{"nodes": []}'


def test_the_server_refuses_a_bad_prompt_with_the_nodes_own_words(server):
    wrong = {
        **PICTURE,
        "1": {"class_type": "EmptyImage", "inputs": {"width": 0, "height": 16, "batch_size": 1, "color": 0}},
    }
    with pytest.raises(ServerError, match=r"node 1 \(EmptyImage\): Value 0 smaller than min"):
        server.run(wrong)


def test_a_node_that_raises_is_reported(server):
    wrong = {
        "1": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "2": {
            "class_type": "SaveLatent",
            "inputs": {"samples": ["1", 0], "filename_prefix": "../../outside"},
        },
    }
    with pytest.raises(ServerError, match=r"node 2 \(SaveLatent\) raised"):
        server.run(wrong)


def test_the_server_loads_the_pack(server):
    line = next(
        line
        for line in server.log.read_text().splitlines()
        if "seconds" in line and line.endswith("noise-search")
    )
    assert "IMPORT FAILED" not in line
