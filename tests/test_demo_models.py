"""The embedded demo models: stock nodes take them, and they draw and judge what their card says."""

import math
import subprocess
import sys
from pathlib import Path

import comfy.sample
import comfy.samplers
import comfy.sd
import pytest
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingSD3
from demo_training import scenes
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

import nodes as stock
from noisesearch.demo.load import FOLDER, load_world
from noisesearch.demo.text_encoder import PAD, UNKNOWN
from noisesearch.demo.worlds import WORLDS, held_out_prompts, is_held_out
from noisesearch.demo.attributes import SceneAttributes
from noisesearch.sampling.samplers import multistep_consistency
from noisesearch.verifiers.base import Batch
from noisesearch.demo.digits import DigitClassifier, read_digit
from noisesearch.demo.grammar import BACKGROUNDS, COLOURS, SHAPES, Scene, Thing, describe, parse_scene

ROOT = Path(__file__).resolve().parent.parent
THINGS = st.builds(Thing, st.sampled_from(COLOURS), st.sampled_from(SHAPES))


@pytest.fixture(scope="module", params=list(WORLDS))
def world(request):
    return request.param


@pytest.fixture(scope="module")
def loaded(world):
    with torch.inference_mode():
        return load_world(world)


def verifier(kind, name):
    return kind(FOLDER / "verifiers" / f"{name}.safetensors")


def encode(clip, text):
    return stock.CLIPTextEncode().encode(clip, text)[0]


def generator_file(settings):
    return FOLDER / settings.folder / f"{settings.generator}.safetensors"


def empty_latent(count=1):
    return {"samples": torch.zeros(count, 16, 8, 8)}


def draw(loaded, world, prompt, seed, latent, model=None, denoise=1.0):
    settings = WORLDS[world]
    model, clip = model or loaded[0], loaded[1]
    return stock.common_ksampler(
        model,
        seed,
        settings.steps,
        settings.cfg,
        settings.sampler,
        settings.scheduler,
        encode(clip, prompt),
        encode(clip, ""),
        latent,
        denoise=denoise,
    )[0]


# The generators


@torch.inference_mode()
def test_stock_loader_draws_the_same(loaded, world):
    """UNETLoader + ModelSamplingSD3 with the world's shift on the file is the model that our loader gives."""
    settings = WORLDS[world]
    plain = comfy.sd.load_diffusion_model(str(generator_file(settings)))
    (shifted,) = ModelSamplingSD3().patch(plain, shift=settings.shift)
    prompt = settings.examples[0]
    ours, theirs = (
        draw(loaded, world, prompt, 3, empty_latent(), model)["samples"] for model in (None, shifted)
    )
    assert torch.equal(ours, theirs)
    assert loaded[0].get_model_object("model_sampling").shift == settings.shift


def test_generator_file_is_complete(loaded, world):
    """ComfyUI loads these weights without asking whether any are missing."""
    with safe_open(generator_file(WORLDS[world]), "pt") as file:
        assert set(file.keys()) == set(loaded[0].model.diffusion_model.state_dict())


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "kind", "judge", "least", "most"),
    [
        ("digits", DigitClassifier, "digits_judge", 0.45, 0.85),
        ("scenes", SceneAttributes, "scenes_judge", 0.05, 0.6),
        ("digits, two-step", DigitClassifier, "digits_judge", 0.45, 0.95),
    ],
)
def test_draws_what_is_asked_but_not_always(name, kind, judge, least, most):
    """Loose bounds around the card's figures: benchmarks/demo_quality.py measures them."""
    world, judge = load_world(name), verifier(kind, judge)
    right = [
        judge.correct(
            Batch(world[2].decode(draw(world, name, prompt, seed, empty_latent())["samples"]), prompt)
        )
        for seed, prompt in enumerate(held_out_prompts(name, 60))
    ]
    assert least <= torch.cat(right).float().mean() <= most


@torch.inference_mode()
def test_two_steps_lie_where_the_student_was_distilled_for():
    """Stock `simple` in two steps: pure noise, then the TrigFlow angle 1.25. Stock lcm and Consistency Sampler are then one method."""
    settings = WORLDS["digits, two-step"]
    model, clip, _ = load_world("digits, two-step")
    sampling = model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, settings.scheduler, settings.steps)
    torch.testing.assert_close(sigmas, torch.tensor([1.0, 0.75, 0.0]))
    assert math.atan(0.75 / 0.25) == pytest.approx(1.25, abs=0.01)
    given = encode(clip, "digit seven"), encode(clip, "")
    noise = comfy.sample.prepare_noise(torch.zeros(1, 16, 8, 8), 3)
    ours, theirs = (
        comfy.sample.sample_custom(
            model, noise, 1.0, sampler, sigmas, *given, torch.zeros(1, 16, 8, 8), seed=3, disable_pbar=True
        )
        for sampler in (multistep_consistency(), comfy.samplers.sampler_object("lcm"))
    )
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


# The VAEs


@torch.inference_mode()
def test_vae_with_stock_nodes(loaded, world):
    vae = loaded[2]
    pictures = stock.VAEDecode().decode(
        vae, draw(loaded, world, WORLDS[world].examples[0], 1, empty_latent(3))
    )[0]
    assert pictures.shape == (3, 64, 64, 3) and pictures.dtype == torch.float32
    assert pictures.min() >= 0 and pictures.max() <= 1
    latent = stock.VAEEncode().encode(vae, pictures)[0]
    assert latent["samples"].shape == (3, 16, 8, 8)
    again = stock.VAEDecode().decode(vae, latent)[0]
    assert (again - pictures).square().mean() < 0.003  # better than 25 dB
    assert torch.equal(stock.VAEDecodeTiled().decode(vae, latent, tile_size=512)[0], again)
    assert torch.equal(
        stock.VAEEncodeTiled().encode(vae, pictures, tile_size=512, overlap=64)[0]["samples"],
        latent["samples"],
    )


@torch.inference_mode()
def test_inpainting_keeps_what_is_not_masked(loaded, world):
    vae, prompt = loaded[2], WORLDS[world].examples[0]
    picture = stock.VAEDecode().decode(vae, draw(loaded, world, prompt, 1, empty_latent()))[0]
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1
    for latent in (
        stock.SetLatentNoiseMask().set_mask(stock.VAEEncode().encode(vae, picture)[0], mask)[0],
        stock.VAEEncodeForInpaint().encode(vae, picture, mask, grow_mask_by=0)[0],
    ):
        painted = draw(loaded, world, prompt, 5, latent)["samples"]
        torch.testing.assert_close(painted[..., :4], latent["samples"][..., :4], atol=1e-5, rtol=0)
        assert (painted[..., 4:] - latent["samples"][..., 4:]).abs().mean() > 0.05


@torch.inference_mode()
def test_latents_have_unit_scale_for_the_generator(loaded, world):
    """Noise levels mean on these models what they mean on any other."""
    if WORLDS[world].folder == "digits":
        pictures = torch.cat(
            [
                loaded[2].decode(draw(loaded, world, f"digit {digit}", digit, empty_latent())["samples"])
                for digit in range(10)
            ]
        )
    else:
        pictures = torch.from_numpy(scenes.make(50, seed=9)[0]).float() / 255
    seen_by_generator = loaded[0].model.process_latent_in(loaded[2].encode(pictures))
    assert seen_by_generator.mean().abs() < 0.2 and 0.7 < seen_by_generator.std() < 1.3


@torch.inference_mode()
def test_vae_batch_equals_singles_and_odd_sizes(loaded):
    vae, latents = loaded[2], torch.randn(20, 16, 8, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        vae.decode(latents), torch.cat([vae.decode(latent[None]) for latent in latents]), atol=1e-5, rtol=0
    )
    assert vae.encode(torch.rand(1, 67, 99, 4)).shape == (1, 16, 8, 12)
    with pytest.raises(ValueError, match=r"not \[1, 4, 8, 8\]"):
        vae.decode(torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValueError, match="at least 8x8"):
        vae.encode(torch.rand(1, 7, 64, 3))


# The text encoders


@torch.inference_mode()
def test_prompts(loaded, world):
    clip, prompt = loaded[1], WORLDS[world].examples[0]
    assert isinstance(clip, comfy.sd.CLIP)

    def tokens(text):
        return [token for token, _ in clip.tokenize(text)["demo"][0]]

    assert set(tokens("")) == {PAD}
    assert UNKNOWN not in tokens(prompt) and tokens(prompt) == tokens(f"  {prompt.upper()}")
    assert tokens("a unicorn")[1] == tokens("x dragon")[1] == UNKNOWN
    assert len(tokens(" ".join([prompt] * 9))) == len(tokens(""))
    context, extras = encode(clip, prompt)[0]
    assert extras["pooled_output"].shape == (1, 128) and context.shape == (1, len(tokens("")), 128)
    assert torch.equal(context, encode(clip.clone(), prompt)[0][0])
    word = prompt.split()[1]
    assert torch.equal(context, encode(clip, prompt.replace(word, f"({word}:1.0)"))[0][0])
    assert not torch.allclose(context, encode(clip, prompt.replace(word, f"({word}:1.5)"))[0][0])


def test_a_digit_may_be_written_as_a_number():
    clip = load_world("digits")[1]
    assert clip.tokenize("digit seven") == clip.tokenize("digit 7") != clip.tokenize("digit eight")


# The scenes' language and data


@given(
    first=THINGS,
    second=st.none() | THINGS,
    background=st.sampled_from(BACKGROUNDS),
    vertical=st.booleans(),
    from_second=st.booleans(),
)
def test_grammar_round_trip(first, second, background, vertical, from_second):
    scene = Scene(background, first, second, vertical and second is not None)
    assert parse_scene(describe(scene, from_second and second is not None)) == scene


def test_grammar_by_hand():
    left = parse_scene("a blue star right of a red circle on a grey background")
    assert (
        left
        == parse_scene("A red  circle left of\na blue star on a grey background.")
        == Scene("grey", Thing("red", "circle"), Thing("blue", "star"))
    )
    assert describe(left) == "a red circle left of a blue star on a grey background"
    assert describe(left, from_second=True) == "a blue star right of a red circle on a grey background"
    assert parse_scene("a red circle below a blue star on a grey background").first == Thing("blue", "star")


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "a cat",
        "a red circle",
        "a red circle near a blue star on a grey background",
        "a red circle on a pink background",
        "two red circles on a grey background",
    ],
)
def test_grammar_refuses(prompt):
    with pytest.raises(ValueError, match="COLOUR SHAPE RELATION"):
        parse_scene(prompt)


def test_held_out_prompts():
    prompts = held_out_prompts("scenes", 200)
    assert len(set(map(parse_scene, prompts))) == 200 and all(
        is_held_out(parse_scene(prompt)) for prompt in prompts
    )
    assert prompts == held_out_prompts("scenes", 200) != held_out_prompts("scenes", 200, seed=1)
    assert not any(is_held_out(parse_scene(prompt)) for prompt in scenes.make(300, seed=4, held_out=False)[1])
    assert [prompt.split()[1] for prompt in held_out_prompts("digits", 12)][9:] == ["nine", "zero", "one"]
    assert held_out_prompts("digits, two-step", 12) == held_out_prompts("digits", 12)
    with pytest.raises(ValueError, match="digits, scenes"):
        held_out_prompts("faces", 3)


def test_worlds_need_no_torch():
    code = "import sys; from pack import load_pack; load_pack(); from noisesearch.demo.worlds import held_out_prompts; held_out_prompts('scenes', 3); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "tools")


# The verifiers and judges


@pytest.mark.parametrize(
    ("text", "digit"), [("digit seven", 7), ("Seven", 7), ("a handwritten 7", 7), ("zero 0", 0)]
)
def test_read_digit(text, digit):
    assert read_digit(text) == digit


@pytest.mark.parametrize("text", ["a cat", "digit", "three or four", "17"])
def test_read_digit_refuses(text):
    with pytest.raises(ValueError, match="names one digit"):
        read_digit(text)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["scenes_attributes", "scenes_judge"])
def test_scene_verifiers(name):
    judge = verifier(SceneAttributes, name)
    images, prompts, _ = scenes.make(60, seed=7, held_out=True)
    images = torch.from_numpy(images).float() / 255
    batches = [Batch(image[None], prompt) for image, prompt in zip(images, prompts)]
    assert torch.cat([judge.correct(batch) for batch in batches]).float().mean() >= 0.9
    own = torch.cat([judge.score(batch) for batch in batches])
    mixed = torch.cat(
        [
            judge.score(Batch(batch.images, prompt))
            for batch, prompt in zip(batches, prompts[1:] + prompts[:1])
        ]
    )
    assert (own <= 0).all() and (own > mixed).float().mean() >= 0.95
    together = judge.score(Batch(images[:20], prompts[0]))
    torch.testing.assert_close(
        together,
        torch.cat([judge.score(Batch(image[None], prompts[0])) for image in images[:20]]),
        atol=1e-3,
        rtol=1e-4,
    )
    assert judge.attributes(Batch(images[:2], "a red moon on a navy background")).shape == (2, 4)
    with pytest.raises(ValueError, match="COLOUR SHAPE RELATION"):
        judge.score(Batch(images[:1], "a cat"))


@torch.inference_mode()
@pytest.mark.parametrize("name", ["scenes_attributes", "scenes_judge"])
def test_scene_verifiers_take_any_size(name):
    judge = verifier(SceneAttributes, name)
    images, prompts, _ = scenes.make(30, seed=8, held_out=True)
    large = torch.from_numpy(images).float().div(255).repeat_interleave(3, 1).repeat_interleave(3, 2)
    right = torch.cat([judge.correct(Batch(image[None], prompt)) for image, prompt in zip(large, prompts)])
    assert right.float().mean() >= 0.9


@torch.inference_mode()
@pytest.mark.parametrize("name", ["digits_classifier", "digits_judge"])
def test_digit_verifiers(name):
    judge, world = verifier(DigitClassifier, name), load_world("digits")
    images = torch.cat(
        [
            world[2].decode(draw(world, "digits", f"digit {digit}", seed, empty_latent())["samples"])
            for digit in range(10)
            for seed in range(3)
        ]
    )
    scores = torch.stack([judge.score(Batch(images, str(digit))) for digit in range(10)], dim=1)
    assert scores.shape == (30, 10) and (scores <= 0).all()
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(30), atol=1e-4, rtol=0)
    assert torch.equal(judge.correct(Batch(images, "3")), scores.argmax(1) == 3)
    torch.testing.assert_close(
        scores[:, 4],
        torch.cat([judge.score(Batch(image[None], "four")) for image in images]),
        atol=1e-4,
        rtol=1e-4,
    )
    large = torch.nn.functional.interpolate(images.movedim(-1, 1), scale_factor=2.5, mode="bilinear").movedim(
        1, -1
    )
    same = torch.stack([judge.score(Batch(large, str(digit))) for digit in range(10)], dim=1).argmax(
        1
    ) == scores.argmax(1)
    assert same.float().mean() >= 0.85


def test_classifiers_refuse_other_files():
    with pytest.raises(ValueError, match="not a classifier"):
        DigitClassifier(FOLDER / "digits" / "vae.safetensors")


def test_clip_prefers_its_prompt():
    open_clip = pytest.importorskip("open_clip")
    folder = f"local-dir:{FOLDER / 'clip_verifiers' / 'scenes-clip'}"
    model, preprocess = open_clip.create_model_from_pretrained(folder)
    images, prompts, _ = scenes.make(60, seed=7, held_out=True)
    with torch.inference_mode():
        image_features = model.encode_image(
            torch.stack([preprocess(scenes.Image.fromarray(image)) for image in images]), normalize=True
        )
        text_features = model.encode_text(open_clip.get_tokenizer(folder)(prompts), normalize=True)
    assert ((image_features @ text_features.T).argmax(1) == torch.arange(60)).float().mean() >= 0.9


# The files


def test_files_are_small_half_precision_and_in_the_card():
    files = sorted(FOLDER.rglob("*.safetensors"))
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < 20e6
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for file in files:
        assert file.relative_to(FOLDER).as_posix() in card
        with safe_open(file, "pt") as tensors:
            assert {tensors.get_slice(name).get_dtype() for name in tensors.keys()} == {"F16"}
    assert len(files) == 12
