"""Fingerprints: equal for verifiers that score alike, different when a setting or a file is."""

import json
import math
import os
from dataclasses import dataclass

import pytest
import torch
from verifier_helpers import images, write_clip_folder

from noisesearch.demo import judges as _  # noqa: F401  (adds its scorers)
from noisesearch.verifiers import files
from noisesearch.verifiers.base import ImageVerifier, over_frames_of
from noisesearch.verifiers.catalogue import load_verifier
from noisesearch.verifiers.ensemble import Ensemble
from noisesearch.verifiers.fingerprint import fingerprint_of, marked
from noisesearch.verifiers.judges.clip_score import ClipScore
from noisesearch.verifiers.judges.reference import ReferenceSimilarity
from noisesearch.verifiers.networks.clip_tower import load_tower
from noisesearch.verifiers.networks.clip_vision import ClipVisionFeatures


class Own(ImageVerifier):
    """Without a fingerprint of its own."""

    name = "own"
    gain = 1.0

    def __init__(self, **settings):
        vars(self).update(settings)

    def judge(self, batch):
        return self.gain * batch.images.flatten(1).mean(1)


@dataclass
class Look:
    size: int = 8


def mark(verifier):
    return json.dumps(fingerprint_of(verifier), sort_keys=True, allow_nan=False)


SETTINGS = [
    {},
    {"gain": 2.0},
    {"gain": math.nan},
    {"gain": math.inf},
    {"label": "a"},
    {"label": None},
    {"weight": torch.zeros(3)},
    {"weight": torch.zeros(1, 3)},
    {"weight": torch.zeros(3).half()},
    {"weight": torch.zeros(3).bool()},
    {"weight": torch.zeros(3).bfloat16()},
    {"weight": torch.eye(3).T[::2]},
    {"table": {"a": torch.zeros(2)}},
    {"table": {"a": torch.ones(2)}},
    {"names": ("a", "b")},
    {"names": ("b", "a")},
    {"names": {"b", "a"}},
    {"names": tuple(map(str, range(10_000)))},
    {"names": tuple(map(str, range(10_001)))},
    {"look": Look()},
    {"look": Look(9)},
    {"look": len},
    {"look": Look},
    {"look": object()},
    {"frames": 3},
    {"over_frames": "min"},
]


def test_every_setting_makes_another_fingerprint_and_the_same_one_the_same():
    assert len({mark(Own(**settings)) for settings in SETTINGS}) == len(SETTINGS)
    for settings in SETTINGS:
        assert mark(Own(**settings)) == mark(Own(**settings)) and len(mark(Own(**settings))) < 10_000


def test_what_is_kept_for_oneself_and_defaults_that_are_set_count_nothing():
    assert mark(Own()) == mark(Own(_cache=torch.ones(3)))
    assert mark(Own()) == mark(over_frames_of(Own(), Own.frames, Own.over_frames))


def test_a_file_counts_by_what_is_in_it_and_a_large_one_by_when_it_was_written(tmp_path, monkeypatch):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"1234")
    first = mark(Own(path=path))
    os.utime(path, ns=(7, 7))
    assert mark(Own(path=path)) == first
    path.write_bytes(b"1235")
    assert mark(Own(path=path)) != first
    monkeypatch.setattr(files, "_READ_WHOLE", 3)
    large = mark(Own(path=path))
    os.utime(path, ns=(9, 9))
    assert mark(Own(path=path)) != large and "sha256" not in large


def test_a_clip_folder_counts_with_all_its_files_as_they_were_when_it_was_loaded(tmp_path):
    folder = write_clip_folder(tmp_path / "tiny")
    judge = ClipScore(load_tower(folder))
    first = mark(judge)
    (folder / "tokenizer_config.json").write_text("{}")
    assert mark(judge) == first != mark(ClipScore(load_tower(folder)))


def test_an_ensemble_counts_with_its_members_and_how_they_are_combined():
    one, other = Own(), Own(gain=2.0)
    made = [
        Ensemble((one, other), (1.0, 1.0)),
        Ensemble((one, other), (1.0, 2.0)),
        Ensemble((one, other), (1.0, 1.0), "z-score"),
        Ensemble((one, other), (1.0, 1.0), held_out=other),
        Ensemble((one, other), (1.0, 1.0), sanity_gate=True),
        Ensemble((one, one), (1.0, 1.0)),
    ]
    assert len({json.dumps(marked(each), sort_keys=True) for each in made}) == len(made)


class Vision:
    """A stock CLIP Vision: a network whose file is not known."""

    def __init__(self, seed):
        torch.manual_seed(seed)
        self.model = torch.nn.Linear(100, 100)

    def encode_image(self, images):
        return {"image_embeds": images.flatten(1)[:, :100]}


def test_a_stock_network_counts_by_its_numbers_and_references_by_their_pictures():
    judges = [
        ReferenceSimilarity(ClipVisionFeatures(Vision(seed)), images(2, seed=shown))
        for seed, shown in ((0, 0), (1, 0), (0, 1), (0, 0))
    ]
    marks = [mark(judge) for judge in judges]
    assert len(set(marks)) == 3 and marks[0] == marks[3]


def test_the_packs_own_name_in_comfyui_is_not_part_of_it():
    assert "noisesearch" not in mark(load_verifier("digit classifier (demo)"))


# -- of other packs ---------------------------------------------------------------------------------------------------------


class Foreign:
    name = "foreign"

    def __init__(self, answer):
        self.answer = answer

    def fingerprint(self):
        return self.answer()


def fail():
    raise OSError("no line")


@pytest.mark.parametrize(
    "answer",
    [
        lambda: {"a": 1},
        lambda: None,
        lambda: "text",
        lambda: {1: object()},
        lambda: [torch.ones(2)],
        lambda: math.nan,
    ],
)
def test_whatever_a_foreign_fingerprint_says_becomes_json(answer):
    assert mark(Foreign(answer)) == mark(Foreign(answer))


def test_one_that_fails_is_like_no_other_not_even_itself():
    """So that no old score is taken for what it would say now."""
    judge = Foreign(fail)
    assert mark(judge) != mark(judge) and "OSError" in mark(judge)


def test_one_that_has_none_counts_by_its_class_and_attributes():
    class Plain:
        name = "plain"

        def __init__(self, gain):
            self.gain, self.client = gain, object()

    assert mark(Plain(1)) == mark(Plain(1)) != mark(Plain(2))
