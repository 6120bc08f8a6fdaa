"""BRISQUE in torch against the package `brisque`, on real photos."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from photos import NAMES, noisy, photo, variants
from safetensors.torch import save_file
from verifier_helpers import images

from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.catalogue import load_verifier
from noisesearch.verifiers.judges.image_quality import ImageQuality

REFERENCE = json.loads((Path(__file__).parent / "fixtures" / "brisque.json").read_text(encoding="utf-8"))[
    "values"
]


def tensor(pixels):
    """uint8 [H, W, 3] -> [1, H, W, 3] that ComfyUI's truncation turns back into the same bytes."""
    return ((torch.from_numpy(pixels.copy()).float() + 0.5)[None] / 255).clamp(max=1)


@pytest.fixture(scope="module")
def quality():
    return load_verifier("image quality (BRISQUE)")


@pytest.mark.parametrize("name", NAMES)
def test_scores_equal_the_packages(quality, name):
    for kind, pixels in variants(name).items():
        assert quality.score(Batch(tensor(pixels))).item() == pytest.approx(
            -REFERENCE[name][kind], abs=1e-3
        ), kind


@pytest.mark.parametrize("name", NAMES)
def test_a_clean_photo_beats_a_blurred_one_and_noise_comes_last(quality, name):
    damaged = variants(name)
    static = np.random.default_rng(0).integers(0, 256, photo(name).shape, dtype=np.uint8)
    clean, blur, worse, noise = (
        quality.score(Batch(tensor(x))).item()
        for x in (damaged["clean"], damaged["blur"], damaged["strong blur"], static)
    )
    assert clean > blur > worse
    assert clean > quality.score(Batch(tensor(noisy(photo(name), 25)))).item() > noise


def test_a_batch_equals_its_images_one_by_one(quality):
    batch = images(4, 70, 51)
    assert torch.equal(
        quality.score(Batch(batch)), torch.cat([quality.score(Batch(image[None])) for image in batch])
    )


def test_what_cannot_be_judged(quality):
    flat = torch.full((1, 40, 40, 3), 0.5)
    assert quality.score(Batch(torch.cat([flat, flat * 0, images(1, 40, 40)]))).isnan().tolist() == [
        True,
        True,
        False,
    ]
    with pytest.raises(ValueError, match="12 x 64 pixels; it needs at least 16 x 16"):
        quality.score(Batch(torch.rand(1, 64, 12, 3)))


def test_another_file_is_refused(tmp_path):
    save_file({"vectors": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(
        ValueError, match="other.safetensors does not hold a BRISQUE model: it lacks coefficients"
    ):
        ImageQuality(tmp_path / "other.safetensors")


def test_a_video_that_fades_in_is_judged_by_what_it_shows(quality):
    """A black frame cannot be judged, which is no flaw of the video; a broken one is."""
    frames = images(6, 40, 40)
    frames[:2] = 0
    video = frames[None]
    shown = torch.stack([quality.score(Batch(frame[None]))[0] for frame in frames[2:]])
    quality.frames = 6
    for rule, expected in (("mean", shown.mean()), ("min", shown.min())):
        quality.over_frames = rule
        assert quality.score(Batch(video)).item() == pytest.approx(expected.item(), abs=1e-4)
    broken, mostly_black = video.clone(), video.clone()
    broken[0, 4, 0, 0] = torch.nan
    mostly_black[0, :4] = 0
    assert quality.score(Batch(torch.cat([broken, mostly_black, video]))).isnan().tolist() == [
        True,
        True,
        False,
    ]
