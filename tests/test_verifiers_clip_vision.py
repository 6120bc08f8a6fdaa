"""Likeness by the files of stock Load CLIP Vision: tiny CLIP, SigLIP, DINOv2 and DINOv3 in ComfyUI's own classes, against transformers' on pictures that Pillow resized."""

import importlib
import json

import comfy.clip_vision
import numpy as np
import pytest
import torch
from PIL import Image
from verifier_helpers import images, pil

from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.judges.reference import ReferenceSimilarity
from noisesearch.verifiers.networks.clip_vision import ClipVisionFeatures

HALF, CLIP_MEAN, CLIP_STD = (
    [0.5] * 3,
    [0.48145466, 0.4578275, 0.40821073],
    [0.26862954, 0.26130258, 0.27577711],
)
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SIZES = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}


def cropped(image, size, interpolation=Image.BICUBIC):
    """The shortest side to `size`, then the middle, the lower one of two, as transformers has it."""
    width, height = image.size
    if width < height:
        image = image.resize((size, int(size * height / width)), interpolation)
    else:
        image = image.resize((int(size * width / height), size), interpolation)
    left, top = (image.size[0] - size) // 2, (image.size[1] - size) // 2
    return image.crop((left, top, left + size, top + size))


def squashed(image, size, interpolation=Image.BICUBIC):
    return image.resize((size, size), interpolation)


def clip():
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = {**SIZES, "image_size": 56, "patch_size": 14, "projection_dim": 24, "hidden_act": "gelu"}
    network = CLIPVisionModelWithProjection(CLIPVisionConfig(**config))
    ours = {**config, "model_type": "clip_vision_model", "num_channels": 3, "layer_norm_eps": 1e-5}
    return ours, network, lambda x: network(x).image_embeds, lambda p: cropped(p, 56), (CLIP_MEAN, CLIP_STD)


def siglip():
    from transformers import SiglipVisionConfig, SiglipVisionModel

    config = {
        **SIZES,
        "image_size": 56,
        "patch_size": 14,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-5,
    }
    network = SiglipVisionModel(SiglipVisionConfig(**config))
    ours = {
        **config,
        "model_type": "siglip_vision_model",
        "num_channels": 3,
        "image_mean": HALF,
        "image_std": HALF,
    }
    return (
        ours,
        network,
        lambda x: network(x).last_hidden_state.mean(1),
        lambda p: squashed(p, 56),
        (HALF, HALF),
    )


def dinov2():
    from transformers import Dinov2Config, Dinov2Model

    sizes = {**SIZES, "mlp_ratio": 4}
    sizes.pop("intermediate_size")
    network = Dinov2Model(Dinov2Config(**sizes, image_size=518, patch_size=14, layer_norm_eps=1e-6))
    ours = {
        **sizes,
        "model_type": "dinov2",
        "image_size": 518,
        "layer_norm_eps": 1e-6,
        "use_swiglu_ffn": False,
    }
    ours |= {"image_mean": IMAGENET[0], "image_std": IMAGENET[1]}
    return ours, network, lambda x: network(x).last_hidden_state[:, 0], lambda p: cropped(p, 518), IMAGENET


def dinov3():
    if importlib.util.find_spec("comfy.image_encoders.dino3") is None:
        pytest.skip("this ComfyUI has no DINOv3")
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = {
        **SIZES,
        "patch_size": 16,
        "num_register_tokens": 4,
        "layer_norm_eps": 1e-5,
        "rope_theta": 100.0,
    }
    network = DINOv3ViTModel(DINOv3ViTConfig(**config, image_size=224, key_bias=False, use_gated_mlp=False))
    ours = {**config, "model_type": "dinov3", "num_channels": 3, "image_size": 1024}
    return (
        ours,
        network,
        lambda x: network(x).pooler_output,
        lambda p: squashed(p, 224, Image.BILINEAR),
        IMAGENET,
    )


KINDS = {"CLIP": clip, "SigLIP": siglip, "DINOv2": dinov2, "DINOv3": dinov3}


RENAMED = {  # DINOv2's, by transformers 5
    "attention.q_proj": "attention.attention.query",
    "attention.k_proj": "attention.attention.key",
    "attention.v_proj": "attention.attention.value",
    "attention.o_proj": "attention.output.dense",
}


def published(name, kind):
    """A weight's name in the published file."""
    if kind == "dinov2":
        for new, old in RENAMED.items():
            name = name.replace(new, old)
    if kind == "dinov3":
        name = name.removeprefix("model.")
    if kind == "siglip_vision_model" and not name.startswith("vision_model."):
        name = f"vision_model.{name}"
    return name


@pytest.fixture(scope="module", params=list(KINDS))
def loaded(request, tmp_path_factory):
    """(ComfyUI's CLIP Vision, what transformers makes of a Pillow picture)."""
    torch.manual_seed(0)
    config, network, embed, fit, (mean, std) = KINDS[request.param]()
    network.eval()  # in training DINOv3 moves its patches about
    for parameter in network.parameters():  # ComfyUI may hold them in half precision
        parameter.data = torch.nn.init.normal_(parameter, std=0.2).half().float()
    file = tmp_path_factory.mktemp("vision") / "config.json"
    file.write_text(json.dumps(config))
    vision = comfy.clip_vision.ClipVisionModel(str(file))
    state = {published(name, config["model_type"]): value for name, value in network.state_dict().items()}
    missing, _ = vision.load_sd(state)
    assert [name for name in missing if "position_ids" not in name] == []

    def expected(picture):
        pixels = torch.from_numpy(np.array(fit(picture))).float() / 255
        pixels = (pixels - torch.tensor(mean)) / torch.tensor(std)
        with torch.no_grad():
            return torch.nn.functional.normalize(embed(pixels.movedim(-1, 0)[None]).float(), dim=1)

    return vision, expected


@pytest.mark.parametrize("height, width", [(64, 64), (90, 57), (40, 101)])
def test_features_are_those_of_the_published_model(loaded, height, width):
    vision, expected = loaded
    pictures = images(2, height, width)
    found = ClipVisionFeatures(vision).image_features(pictures)
    for one, picture in zip(found, pictures):
        assert float((one - expected(pil(picture))[0]).abs().max()) < 2e-6
    assert float((found[0] - found[1]).abs().max()) > 1e-3


def test_a_likeness_is_the_cosine_and_its_fingerprint_says_how_it_looks(loaded):
    vision, expected = loaded
    pictures = images(3, 70, 60)
    features = ClipVisionFeatures(vision)
    judge = ReferenceSimilarity(features, pictures[:1])
    scores = judge.score(Batch(pictures))
    wanted = [float(expected(pil(picture))[0] @ expected(pil(pictures[0]))[0]) for picture in pictures]
    assert scores.tolist() == pytest.approx(wanted, abs=2e-6)
    assert scores[0].item() == pytest.approx(1, abs=2e-6)
    assert "interpolation=" in judge.fingerprint()["features"]["look"]


def test_a_kind_that_is_not_known_is_left_to_comfyui():
    class Newer:
        model_type, image_size = "another_vision_model", 224

        def encode_image(self, shown):
            return {"image_embeds": shown[:, :4, :4].flatten(2)}  # patches, as SigLIP's

    pictures = images(2)
    found = ClipVisionFeatures(Newer()).image_features(pictures)
    expected = torch.nn.functional.normalize(pictures[:, :4, :4].flatten(2).mean(1), dim=1)
    assert torch.allclose(found, expected, atol=1e-6)
