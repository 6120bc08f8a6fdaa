"""Networks under ComfyUI's memory management: where they are, in which precision, and that half precision ranks the same."""

import json
from pathlib import Path

import comfy.model_management as mm
import pytest
import torch
from reward_weights import weights
from safetensors.torch import save_file
from verifier_helpers import images, lively, write_clip_folder

from noisesearch.verifiers.networks import clip_tower, managed
from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.catalogue import load_verifier
from noisesearch.verifiers.judges.clip_score import ClipScore
from noisesearch.verifiers.networks.clip_tower import load_tower
from noisesearch.verifiers.networks.features import DinoFeatures
from noisesearch.verifiers.judges.image_reward import ImageReward
from noisesearch.verifiers.networks.managed import ManagedModel

REWARD = json.loads((Path(__file__).parent / "fixtures" / "image_reward.json").read_text(encoding="utf-8"))[
    "values"
]["shapes"]


def make_clip(folder, device="auto"):
    return ClipScore(
        load_tower(
            write_clip_folder(folder / "tiny") if not (folder / "tiny").exists() else folder / "tiny",
            device=device,
        ),
        raw=True,
    )


def make_reward(folder, device="auto"):
    words = "blip.text_encoder.embeddings.word_embeddings.weight"
    shapes = {**REWARD, words: (30524, REWARD[words][1])}
    save_file(
        {name: torch.from_numpy(value) for name, value in weights(shapes).items()},
        folder / "ImageReward.safetensors",
    )
    return ImageReward(folder / "ImageReward.safetensors", device)


def make_dino(folder, device="auto"):
    import timm

    path = folder / "vit_small_patch14_dinov2.safetensors"
    if not path.exists():
        torch.manual_seed(0)
        save_file(
            lively(
                timm.create_model("vit_small_patch14_dinov2", num_classes=0, dynamic_img_size=True)
            ).state_dict(),
            path,
        )
    return DinoFeatures(path, device)


def answers(judge, batch):
    return judge.image_features(batch.images) if isinstance(judge, DinoFeatures) else judge.score(batch)


@pytest.mark.parametrize("make", [make_clip, make_reward, make_dino])
def test_half_precision_runs_and_is_near(make, tmp_path, monkeypatch):
    """On a GPU these networks run in float16; here the CPU does. Near: within a twentieth of how far images differ."""
    monkeypatch.setattr(clip_tower, "_LOADED", {})
    batch = Batch(images(4, 60, 50) * torch.tensor([1.0, 0.7, 0.4, 0.1]).view(4, 1, 1, 1), "a cat on a mat")
    full = answers(make(tmp_path), batch)
    clip_tower._LOADED.clear()
    monkeypatch.setattr(mm, "should_use_fp16", lambda *args, **kwargs: True)
    judge = make(tmp_path)
    model = judge.tower.model if isinstance(judge, ClipScore) else judge.model
    half = answers(judge, batch)
    assert {parameter.dtype for parameter in model.network.parameters()} == {torch.float16}
    assert half.dtype == torch.float32 and 0 < (half - full).abs().max() < 0.05 * full.std(0).mean()


def test_a_network_that_overflows_in_half_precision_goes_on_in_single(monkeypatch, caplog):
    monkeypatch.setattr(mm, "should_use_fp16", lambda *args, **kwargs: True)
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 300.0)
    model = ManagedModel(layer, half=True)
    rows = torch.arange(40.0)[:, None] * 10
    assert model.dtype == torch.float16
    assert torch.allclose(model.run(lambda network, rows: network(rows), rows), rows * 300, rtol=1e-3)
    assert (
        model.dtype == model.network.weight.dtype == torch.float32 and "overflows in float16" in caplog.text
    )
    assert any(loaded.model is model.patcher for loaded in mm.current_loaded_models)


def test_the_chunk_that_fitted_is_kept_and_copying_may_fail_too(monkeypatch):
    class OutOfMemory(Exception):
        pass

    monkeypatch.setattr(managed, "is_out_of_memory", lambda error: isinstance(error, OutOfMemory))
    model, tried = ManagedModel(torch.nn.Linear(2, 2)), []

    class Rows(torch.Tensor):
        def to(self, *args, **kwargs):
            tried.append(len(self))
            if len(self) > 4:
                raise OutOfMemory
            return torch.Tensor.to(self.as_subclass(torch.Tensor), *args, **kwargs)

    rows = torch.ones(9, 2).as_subclass(Rows)
    expected = model.network(torch.ones(9, 2))
    assert torch.allclose(model.run(lambda network, rows: network(rows), rows), expected)
    assert tried == [9, 5, 3, 3, 3]
    model.run(lambda network, rows: network(rows), rows)
    assert tried[5:] == [3, 3, 3]


def test_cancelling_is_heard_between_chunks(monkeypatch):
    model, seen = ManagedModel(torch.nn.Linear(2, 2)), []

    def cancelled():
        if seen:
            raise mm.InterruptProcessingException

    monkeypatch.setattr(mm, "throw_exception_if_processing_interrupted", cancelled)
    with pytest.raises(mm.InterruptProcessingException):
        model.run(lambda network, rows: seen.append(len(rows)) or network(rows), torch.ones(100, 2))
    assert seen == [managed.CHUNK]


def test_comfyui_sees_the_network_and_can_take_it_away():
    model = ManagedModel(torch.nn.Linear(2, 2))
    rows = torch.ones(3, 2)
    first = model.run(lambda network, rows: network(rows), rows)
    assert any(loaded.model is model.patcher for loaded in mm.current_loaded_models)
    mm.unload_all_models()
    assert not any(loaded.model is model.patcher for loaded in mm.current_loaded_models)
    assert torch.equal(model.run(lambda network, rows: network(rows), rows), first)
    assert (
        not any(parameter.requires_grad for parameter in model.network.parameters())
        and not model.network.training
    )


def test_room_is_asked_for_and_the_whole_network_loaded(monkeypatch):
    asked, load = [], mm.load_models_gpu
    monkeypatch.setattr(
        mm,
        "load_models_gpu",
        lambda models, **options: asked.append((models, options)) or load(models, **options),
    )
    model = ManagedModel(torch.nn.Linear(2, 2), row_bytes=1000)
    model.run(lambda network, rows: network(rows), torch.ones(20, 2))
    assert asked == [
        ([model.patcher], {"memory_required": rows * 1000, "force_full_load": True}) for rows in (16, 4)
    ]


def test_no_gradients_are_kept_outside_inference_mode():
    model, weight = ManagedModel(torch.nn.Linear(2, 2)), torch.ones(2, requires_grad=True)
    assert not model.run(lambda network, rows: network(rows) * weight, torch.ones(3, 2)).requires_grad


def test_going_on_in_single_precision_leaves_other_models_where_they_are(monkeypatch):
    monkeypatch.setattr(mm, "should_use_fp16", lambda *args, **kwargs: True)
    users = ManagedModel(torch.nn.Linear(2, 2))
    users.run(lambda network, rows: network(rows), torch.ones(3, 2))
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 1e5)
    model = ManagedModel(layer, half=True)
    model.run(lambda network, rows: network(rows), torch.ones(3, 1))
    assert model.dtype == torch.float32 and any(
        loaded.model is users.patcher for loaded in mm.current_loaded_models
    )


@pytest.mark.parametrize("make", [make_clip, make_reward, make_dino])
def test_verifiers_run_where_they_are_told(make, tmp_path, monkeypatch):
    monkeypatch.setattr(mm, "text_encoder_device", lambda: torch.device("cuda", 0))  # as with a GPU
    devices = {}
    for device in ("auto", "cpu"):
        judge = make(tmp_path, device)
        model = judge.tower.model if isinstance(judge, ClipScore) else judge.model
        devices[device] = model.patcher.load_device
    assert devices == {"auto": torch.device("cuda", 0), "cpu": torch.device("cpu")}


def test_an_error_of_the_network_is_not_taken_for_missing_memory():
    model = ManagedModel(torch.nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model.run(lambda network, rows: network(rows), torch.ones(4, 3))


DEMO = [
    ("digit classifier (demo)", "digit three"),
    ("scene attributes (demo)", "a red circle left of a blue star on a grey background"),
]


@pytest.mark.parametrize("scorer, prompt", DEMO, ids=["digits", "scenes"])
def test_the_demos_verifiers_run_where_they_are_told(scorer, prompt, monkeypatch):
    monkeypatch.setattr(mm, "text_encoder_device", lambda: torch.device("cuda", 0))  # as with a GPU
    auto, cpu = (load_verifier(scorer, device=device).classify.managed.patcher for device in ("auto", "cpu"))
    assert (auto.load_device, cpu.load_device) == (torch.device("cuda", 0), torch.device("cpu"))
    assert load_verifier(scorer, device="cpu").score(Batch(images(2), prompt)).isfinite().all()


@pytest.mark.parametrize("scorer, prompt", DEMO, ids=["digits", "scenes"])
@pytest.mark.parametrize("rule", ["mean", "min"])
def test_the_demos_verifiers_judge_videos_by_their_frames(scorer, prompt, rule):
    judge = load_verifier(scorer, frames=3, over_frames=rule)
    videos = images(10).unflatten(0, (2, 5))
    frames = torch.stack([judge.score(Batch(video[[0, 2, 4]], prompt)) for video in videos])
    expected = frames.mean(1) if rule == "mean" else frames.amin(1)
    assert torch.allclose(judge.score(Batch(videos, prompt)), expected, atol=1e-5) and frames.std() > 1e-3
