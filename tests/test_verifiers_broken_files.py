"""Every kind of file that a verifier is made of, broken in every way: the error names the file, and nothing in it runs."""

import json
import os
import pickle
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from reward_weights import weights
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_verifiers_image_reward import REFERENCE
from test_verifiers_preference import write_head
from verifier_helpers import tiny_clip, write_clip_folder

from noisesearch.verifiers import files
from noisesearch.verifiers.networks import weights as weights_files
from noisesearch.verifiers.judges.aesthetic import Aesthetic
from noisesearch.demo.attributes import SceneAttributes
from noisesearch.demo.judges import DIGITS_FILE, SCENES_FILE
from noisesearch.verifiers.catalogue import BRISQUE
from noisesearch.verifiers.files import resolve
from noisesearch.verifiers.networks.clip_tower import load_tower
from noisesearch.demo.digits import DigitClassifier
from noisesearch.verifiers.networks.dino_head import DinoLinearHead
from noisesearch.demo.classifiers import ClassifierFeatures
from noisesearch.verifiers.networks.features import DinoFeatures
from noisesearch.verifiers.judges.frechet import load_statistics
from noisesearch.verifiers.judges.image_quality import ImageQuality
from noisesearch.verifiers.judges.image_reward import load_network

DINO = "vit_small_patch14_dinov2"


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@dataclass
class Kind:
    """good: its tensors; load: path -> anything; stem: what the file must be called; metadata: of the safetensors file."""

    good: dict
    load: Any
    stem: str = "weights"
    metadata: dict = field(default_factory=dict)


def packaged(published, load):
    path = resolve("test", files.VERIFIERS, published.name, ())
    with safe_open(path, "pt") as file:
        return Kind(load_file(path), load, metadata=file.metadata())


def dino():
    torch.manual_seed(0)
    return timm.create_model(DINO, num_classes=0, dynamic_img_size=True).state_dict()


def dino_head(folder):
    network = folder / f"{DINO}.safetensors"
    save_file(dino(), network)
    return Kind(torch.nn.Linear(768, 1000).state_dict(), lambda path: DinoLinearHead(network, path))


def aesthetic(folder):
    write_head(folder / "head.pth")
    return Kind(torch.load(folder / "head.pth"), lambda path: Aesthetic(None, path))


def clip(folder, good=None):
    write_clip_folder(folder / "clip")
    (folder / "clip" / "open_clip_model.safetensors").unlink()

    def load(path):
        moved = folder / "clip" / f"open_clip_model{path.suffix}"
        moved.write_bytes(path.read_bytes())
        try:
            return load_tower(moved.parent)
        finally:
            moved.unlink()

    return Kind(good or tiny_clip().state_dict(), load, "open_clip_model")


def transformers_clip(folder):
    from transformers import CLIPConfig, CLIPModel

    tiny = {
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": 16,
    }
    text = {
        **tiny,
        "hidden_size": 16,
        "intermediate_size": 64,
        "vocab_size": 49408,
        "max_position_embeddings": 16,
    }
    model = CLIPModel(
        CLIPConfig(
            text_config=text, vision_config={**tiny, "image_size": 32, "patch_size": 8}, projection_dim=16
        )
    )
    return clip(folder, {name: value.clone() for name, value in model.state_dict().items()})


KINDS = {
    "ImageReward": lambda folder: Kind(
        {name: torch.from_numpy(value) for name, value in weights(REFERENCE["shapes"]).items()}, load_network
    ),
    "CLIP": clip,
    "CLIP in transformers' layout": transformers_clip,
    "aesthetic head": aesthetic,
    "BRISQUE": lambda folder: packaged(BRISQUE, ImageQuality),
    "digit classifier": lambda folder: packaged(DIGITS_FILE, DigitClassifier),
    "digit classifier as features": lambda folder: packaged(DIGITS_FILE, ClassifierFeatures),
    "scene attributes": lambda folder: packaged(SCENES_FILE, SceneAttributes),
    "DINO": lambda folder: Kind(dino(), DinoFeatures, DINO),
    "DINO head": dino_head,
    "feature statistics": lambda folder: Kind(
        {"mean": torch.zeros(6), "covariance": torch.eye(6)}, load_statistics
    ),
}
WRONG = {
    "flat": lambda good: {name: value.flatten() for name, value in good.items()},
    "numbers": lambda good: {name: value.flatten()[0] for name, value in good.items()},
    "one row more": lambda good: {
        name: torch.cat([value, value[:1]]) if value.dim() else value for name, value in good.items()
    },
    "one column less": lambda good: {
        name: value[..., :-1] if value.dim() else value for name, value in good.items()
    },
    "two axes more": lambda good: {name: value[None, None] for name, value in good.items()},
    "empty": lambda good: {name: value[:0] if value.dim() else value for name, value in good.items()},
    "half of the names": lambda good: dict(list(good.items())[::2]),
    "other names": lambda good: {f"other.{name}": value for name, value in good.items()},
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory):
    made = KINDS[request.param](tmp_path_factory.mktemp("kind"))
    made.good = {name: value.contiguous() for name, value in made.good.items()}
    return made


def test_the_whole_file_is_read(kind, tmp_path):
    save_file(kind.good, tmp_path / f"{kind.stem}.safetensors", kind.metadata)
    assert kind.load(tmp_path / f"{kind.stem}.safetensors") is not None


@pytest.mark.filterwarnings(
    "ignore:Initializing zero-element tensors",
    "ignore:.*T. on tensors of dimension other than 2",
    "ignore:Tensor.T is deprecated",
)
@pytest.mark.parametrize("wrong", WRONG)
def test_other_names_and_shapes_are_refused(kind, wrong, tmp_path):
    state = {name: value.contiguous().clone() for name, value in WRONG[wrong](kind.good).items()}
    path = tmp_path / f"{kind.stem}.safetensors"
    save_file(state, path, kind.metadata)
    with pytest.raises(weights_files.WrongFile, match=path.name) as refused:
        kind.load(path)
    assert len(str(refused.value)) < 1000


def test_a_truncated_file_is_refused(kind, tmp_path):
    path = tmp_path / f"{kind.stem}.safetensors"
    save_file(kind.good, path, kind.metadata)
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 20, 0):
        path.write_bytes(whole[:size])
        with pytest.raises(weights_files.WrongFile, match=f"{path.name} is not a whole safetensors file"):
            kind.load(path)


@pytest.mark.parametrize("ending", [".pt", ".bin"])
@pytest.mark.parametrize("inside", [True, False], ids=["beside the weights", "alone"])
def test_a_payload_is_refused_and_does_not_run(kind, inside, ending, tmp_path):
    path = tmp_path / f"{kind.stem}{ending}"
    if inside:
        torch.save({**kind.good, "extra": Payload(tmp_path / "ran")}, path)
    else:
        path.write_bytes(pickle.dumps(Payload(tmp_path / "ran"), protocol=2))
    with pytest.raises(weights_files.WrongFile, match=f"{path.name} was refused"):
        kind.load(path)
    assert not (tmp_path / "ran").exists()
    torch.load(path, weights_only=False) if inside else pickle.loads(path.read_bytes())  # noqa: S301
    assert (tmp_path / "ran").exists()  # it would have


@pytest.mark.parametrize(
    "settings",
    [
        "{",
        "[]",
        '"text"',
        "{}",
        '{"architecture": "tree", "width": 8, "heads": [10]}',
        '{"architecture": "plain", "width": 8, "heads": [10], "colour": 1}',
    ],
)
def test_a_classifiers_settings_are_checked(settings, tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "odd.safetensors", {"classifier": settings})
    for load in (DigitClassifier, ClassifierFeatures):
        with pytest.raises(weights_files.WrongFile, match="odd.safetensors"):
            load(tmp_path / "odd.safetensors")


def test_a_classifier_of_something_else_is_refused(tmp_path):
    with pytest.raises(weights_files.WrongFile, match=r"a classifier for something else.*\[10\] are needed"):
        DigitClassifier(resolve("test", files.VERIFIERS, SCENES_FILE.name, ()))
    for name, metadata in (
        ("plain", None),
        ("other", {"classifier": json.dumps({"architecture": "plain", "width": 8, "heads": [10]})}),
    ):
        save_file({"weight": torch.zeros(2)}, tmp_path / f"{name}.safetensors", metadata)
    for name, message in {
        "plain": "no 'classifier' entry",
        "other": "does not hold the weights of the classifier that its settings describe",
    }.items():
        with pytest.raises(weights_files.WrongFile, match=message):
            DigitClassifier(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[]",
        "{}",
        '{"model_cfg": {}}',
        '{"model_cfg": {"embed_dim": 16, "vision_cfg": 3, "text_cfg": {}}}',
        '{"model_cfg": {"embed_dim": 16, "vision_cfg": {"colour": 1}, "text_cfg": {}}}',
        {"resize_mode": "twist"},
        {"interpolation": "nearest"},
        {"mean": [0.5]},
        {"std": "x"},
    ],
)
def test_a_clip_folders_config_is_checked(config, tmp_path):
    folder = write_clip_folder(tmp_path / "odd", preprocess=config if isinstance(config, dict) else None)
    if isinstance(config, str):
        (folder / files.CLIP_CONFIG).write_text(config)
    with pytest.raises(weights_files.WrongFile, match="folder odd"):
        load_tower(folder)


def test_statistics_in_an_npz_are_checked(tmp_path):
    good = {"mu": np.zeros(3), "sigma": np.eye(3)}
    arrays = {
        "objects": {**good, "mu": np.array([Payload(tmp_path / "ran")] * 3, dtype=object)},
        "shapes": {**good, "sigma": np.eye(2)},
        "flat": {"mu": np.zeros((3, 3)), "sigma": np.zeros(9)},
        "nan": {**good, "sigma": np.full((3, 3), np.nan)},
        "text": {**good, "mu": np.array(["a", "b", "c"])},
        "names": {"mean": np.zeros(3)},
    }
    for name, content in arrays.items():
        np.savez(tmp_path / f"{name}.npz", **content)
    np.savez(tmp_path / "whole.npz", **good)
    (tmp_path / "short.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-100])
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Payload(tmp_path / "ran"), protocol=2))
    for name in (*arrays, "short", "pickle"):
        with pytest.raises(weights_files.WrongFile, match=f"{name}.npz"):
            load_statistics(tmp_path / f"{name}.npz")
    assert not (tmp_path / "ran").exists()
    assert load_statistics(tmp_path / "whole.npz").mean.tolist() == [0, 0, 0]


@pytest.mark.parametrize("layers", [[*range(2), 300_000], [0, 2], [1, 2]])
def test_an_image_reward_with_odd_layer_numbers_is_refused_before_it_is_built(layers, tmp_path):
    good = {name: torch.from_numpy(value) for name, value in weights(REFERENCE["shapes"]).items()}
    name = "blip.visual_encoder.blocks.{}.norm1.weight"
    state = {key: value for key, value in good.items() if not key.startswith("blip.visual_encoder.blocks.")}
    state |= {
        key.replace("blocks.0.", f"blocks.{layers[0]}."): value
        for key, value in good.items()
        if "visual_encoder.blocks.0." in key
    }
    state |= {name.format(layer): good[name.format(0)].clone() for layer in layers}
    save_file(state, tmp_path / "odd.safetensors")
    with pytest.raises(weights_files.WrongFile, match="odd.safetensors"):
        load_network(tmp_path / "odd.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {"text_cfg": {"layers": 10**7}},
        {"vision_cfg": {"layers": 10**7}},
        {"vision_cfg": {"width": 2**20}},
        {"text_cfg": {"vocab_size": 10**10}},
        {"embed_dim": 10**9},
    ],
)
def test_a_clip_folder_that_asks_for_a_gigantic_network_is_refused_before_it_is_built(changes, tmp_path):
    folder = write_clip_folder(tmp_path / "huge")
    config = json.loads((folder / files.CLIP_CONFIG).read_text())
    for part, values in changes.items():
        config["model_cfg"][part] = (
            {**config["model_cfg"][part], **values} if isinstance(values, dict) else values
        )
    (folder / files.CLIP_CONFIG).write_text(json.dumps(config))
    began = time.monotonic()
    with pytest.raises(weights_files.WrongFile, match="huge|open_clip_model.safetensors"):
        load_tower(folder)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "look",
    [
        {"mean": ["a", "b", "c"]},
        {"mean": "abc"},
        {"std": [0, 1, 1]},
        {"std": [float("nan")] * 3},
        {"mean": [1e30] * 3},
        {"std": [-1, 1, 1]},
    ],
)
def test_a_clip_folders_preprocessing_is_checked(look, tmp_path):
    with pytest.raises(weights_files.WrongFile, match="folder odd"):
        load_tower(write_clip_folder(tmp_path / "odd", preprocess=look))


def test_a_clip_folder_with_broken_tokenizer_files_is_refused(tmp_path):
    folder = write_clip_folder(tmp_path / "odd")
    config = json.loads((folder / files.CLIP_CONFIG).read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "its own folder"
    (folder / files.CLIP_CONFIG).write_text(json.dumps(config))
    for content in (None, "{", '{"model": 3}'):
        if content:
            (folder / "tokenizer.json").write_text(content)
        with pytest.raises(weights_files.WrongFile, match="tokenizer files of the folder odd") as refused:
            load_tower(folder)
        assert "trust_remote_code" not in str(refused.value)


def test_tokenizer_files_of_absurd_size_and_settings_that_name_files_are_refused(tmp_path):
    folder = write_clip_folder(tmp_path / "odd")
    with open(folder / "tokenizer.json", "wb") as file:
        file.truncate(100 * 2**20)  # takes no room on the disk
    with pytest.raises(weights_files.WrongFile, match="tokenizer files of the folder odd"):
        load_tower(folder)
    (folder / "tokenizer.json").unlink()
    config = json.loads((folder / files.CLIP_CONFIG).read_text())
    for settings in ({"bpe_path": "/dev/zero"}, {"reduction_mask": "random"}, "clean", 7):
        config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = settings
        (folder / files.CLIP_CONFIG).write_text(json.dumps(config))
        with pytest.raises(weights_files.WrongFile, match="tokenizer files of the folder odd"):
            load_tower(folder)
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"clean": "canonicalize"}
    (folder / files.CLIP_CONFIG).write_text(json.dumps(config))
    assert load_tower(folder).tokens(("A cat!",)).shape == (1, 16)


def test_the_image_half_of_a_clip_is_told_apart(tmp_path):
    """ComfyUI's own CLIP Vision files have the names that verifiers look for."""
    save_file(
        {
            "vision_model.embeddings.class_embedding": torch.zeros(4),
            "visual_projection.weight": torch.zeros(4, 4),
        },
        tmp_path / "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
    )
    with pytest.raises(weights_files.WrongFile, match="image half of a CLIP only"):
        load_tower(tmp_path / "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors")


OVERWRITTEN = """
import pathlib, sys
sys.path[:0] = sys.argv[1:3]
from pack import use_comfyui
use_comfyui(sys.argv[3])
import torch, test_verifiers_broken_files as t
from safetensors.torch import save_file
for name in ("BRISQUE", "DINO head", "feature statistics", "aesthetic head", "CLIP"):
    folder = pathlib.Path(sys.argv[4], name)
    folder.mkdir()
    kind = t.KINDS[name](folder)
    path = folder / f"{kind.stem}.safetensors"
    save_file({key: value.contiguous() for key, value in kind.good.items()}, path, kind.metadata)
    loaded = kind.load(path)
    open(path, "r+b").truncate(100)
    held = [value for part in (vars(loaded), getattr(loaded, "model", None)) if isinstance(part, dict) for value in part.values() if isinstance(value, torch.Tensor)]
    held += getattr(getattr(loaded, "model", None), "network", torch.nn.Identity()).parameters()
    assert held and all(value.isfinite().all() for value in held), name
"""


@pytest.mark.slow
def test_a_file_written_over_while_it_is_loaded_takes_nothing_down(tmp_path, comfyui):
    """In a process of its own: to read a mapped file that has become shorter kills the process."""
    tests = Path(__file__).resolve().parent
    done = subprocess.run(
        [sys.executable, "-c", OVERWRITTEN, tests, tests.parent / "tools", comfyui, tmp_path],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_file_that_cannot_be_opened_is_not_called_hostile(tmp_path):
    for ending in (".pt", ".safetensors"):
        with pytest.raises(FileNotFoundError):
            weights_files.load_weights(tmp_path / f"gone{ending}")


def test_a_covariance_that_is_none_is_refused():
    from noisesearch.verifiers.judges.frechet import FrechetOracle, Statistics

    with pytest.raises(ValueError, match="symmetric"):
        Statistics(torch.zeros(2).double(), torch.tensor([[1.0, 5.0], [0.0, 1.0]]).double())
    with pytest.raises(ValueError, match="need a mean"):
        Statistics(torch.zeros(0).double(), torch.zeros(0, 0).double())
    with pytest.raises(ValueError, match="negative variance"):
        FrechetOracle(None, Statistics(torch.zeros(2).double(), -torch.eye(2).double()))
