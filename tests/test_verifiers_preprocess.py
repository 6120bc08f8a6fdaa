"""Preprocessing against Pillow and torchvision, through open_clip's own transforms."""

import numpy as np
import PIL
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from noisesearch.verifiers.networks import resize
from noisesearch.verifiers.networks.preprocess import Preprocess, to_bytes
from noisesearch.verifiers.networks.resize import resize_bytes
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from verifier_helpers import images, pil

FITS = {"crop": "shortest", "squash": "squash", "pad": "longest"}
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
side = st.integers(4, 260)


def same_order_of_passes(old_height, old_width, height, width):
    """Before version 13, Pillow began with the rows even when the height shrinks most."""
    return int(PIL.__version__.split(".")[0]) >= 13 or not (
        old_height > height and old_height - height > 2 * (old_width - width)
    )


@settings(max_examples=150, deadline=None)
@given(side, side, side, side, st.sampled_from(sorted(FILTERS)), st.integers(0, 2**31))
def test_resize_equals_pillow_bit_for_bit(old_height, old_width, height, width, interpolation, seed):
    assume(same_order_of_passes(old_height, old_width, height, width))
    noise = np.random.default_rng(seed).integers(0, 256, (old_height, old_width, 3), dtype=np.uint8)
    theirs = np.asarray(Image.fromarray(noise).resize((width, height), FILTERS[interpolation]))
    ours = resize_bytes(
        torch.from_numpy(noise).movedim(-1, 0).double(), height, width, interpolation
    ).movedim(0, -1)
    assert (ours.numpy() == theirs).all()


@pytest.mark.parametrize(
    "height, width",
    [
        (224, 224),
        (512, 512),
        (1216, 832),
        (270, 480),
        (300, 401),
        (401, 300),
        (64, 64),
        (40, 64),
        (600, 200),
        (64, 4096),
        (4000, 70),
    ],
)
@pytest.mark.parametrize("fit", FITS)
def test_preprocessing_equals_open_clips_transform(height, width, fit):
    longest = 224 / max(height, width)
    resized = {
        "squash": (224, 224),
        "pad": (round(height * longest), round(width * longest)),
        "crop": (height, width),
    }[fit]  # no crop here shrinks the height most
    if not same_order_of_passes(height, width, *resized):
        pytest.skip("this Pillow starts with the rows")
    mean, std = (0.1, 0.5, 0.3), (0.5, 0.4, 0.6)
    batch = images(2, height, width)
    transform = image_transform_v2(
        PreprocessCfg(224, mean=mean, std=std, resize_mode=FITS[fit]), is_train=False
    )
    theirs = torch.stack([transform(pil(image)) for image in batch])
    ours = Preprocess(224, fit, mean=mean, std=std)(batch)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 1e-5


def test_a_shortest_side_of_its_own_before_the_crop():
    batch = images(2, 300, 401)
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize, ToTensor

    transform = Compose([Resize(256, InterpolationMode.BICUBIC), CenterCrop(224), ToTensor()])
    theirs = torch.stack([transform(pil(image)) for image in batch])
    ours = Preprocess(224, resize=256, mean=(0, 0, 0), std=(1, 1, 1))(batch)
    assert (ours - theirs).abs().max() < 1e-6


@pytest.mark.parametrize("fit", FITS)
def test_a_batch_equals_its_images_one_by_one(fit):
    batch, spec = images(5, 150, 90), Preprocess(64, fit)
    assert torch.equal(spec(batch), torch.cat([spec(image[None]) for image in batch]))


def test_bytes_are_those_of_a_saved_png_and_half_precision_is_read():
    batch = images(2)
    assert (to_bytes(batch)[0].movedim(0, -1).numpy() == np.asarray(pil(batch[0]))).all()
    assert to_bytes(torch.tensor([[[[-0.5, 0.5, 1.5]]]], dtype=torch.float16)).flatten().tolist() == [
        0,
        127,
        255,
    ]


def test_a_strip_costs_no_more_than_what_is_seen_of_it():
    """Cropping a strip of 64:1 shows a sixty-fourth of the resized picture: no more of it is computed, and no large table is kept."""
    resize._weights.cache_clear()
    Preprocess(224)(torch.rand(1, 64, 4096, 3))
    assert resize._weights(4096, 14336, 7056, 7280, "bicubic").shape == (224, 4096)
    assert resize._weights.cache_info().hits == 1 and resize._weights.cache_info().currsize == 2
