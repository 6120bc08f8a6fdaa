"""Trains a tiny CLIP on scenes in open_clip's architecture, and writes it as an open_clip folder with a word-level tokenizer."""

import json
import time

import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from .solver import Solver

from noisesearch.demo.grammar import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, Scene, Thing, describe

PAD, UNKNOWN, START, END = "<pad>", "<unk>", "<start>", "<end>"
CONTEXT = 14  # the longest prompt's 12 words, and both ends


def words():
    """Token -> number. END has the highest: that is where open_clip looks for the text's summary."""
    relations = [word for relation in RELATIONS for word in relation.split()]
    return {
        word: i
        for i, word in enumerate(
            dict.fromkeys(
                (
                    PAD,
                    UNKNOWN,
                    "a",
                    "an",
                    "on",
                    "background",
                    *relations,
                    *COLOURS,
                    *SHAPES,
                    *BACKGROUNDS,
                    START,
                    END,
                )
            )
        )
    }


CONFIG = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "patch_size": 8, "width": 128, "layers": 4, "head_width": 32},
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": len(words()),
            "width": 128,
            "heads": 4,
            "layers": 2,
            "hf_tokenizer_name": "scenes",
        },
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}


def create():
    from open_clip import CLIP

    config = CONFIG["model_cfg"]
    return CLIP(config["embed_dim"], dict(config["vision_cfg"]), dict(config["text_cfg"]))


def encode(prompts):
    """int64 [N, CONTEXT], as the written tokenizer does."""
    numbers = words()
    rows = [[numbers[START], *(numbers[word] for word in prompt.split()), numbers[END]] for prompt in prompts]
    return torch.tensor([row + [numbers[PAD]] * (CONTEXT - len(row)) for row in rows])


def near_misses(scene, rng):
    """Four scenes that differ from this one in one respect: a colour, a shape, the background, or (of two things) which is where or has which colour."""

    def other(value, values):
        return rng.choice([candidate for candidate in values if candidate != value])

    def altered(thing):
        return [
            Thing(other(thing.colour, COLOURS), thing.shape),
            Thing(thing.colour, other(thing.shape, SHAPES)),
        ]

    first, second, background = scene.first, scene.second, scene.background
    if second is None:
        return [
            *(Scene(background, thing) for thing in altered(first)),
            Scene(other(background, BACKGROUNDS), first),
            Scene(background, first, altered(first)[0], rng.random() < 0.5),
        ]
    changed = [*((thing, second) for thing in altered(first)), *((first, thing) for thing in altered(second))]
    exchanged = (Thing(second.colour, first.shape), Thing(first.colour, second.shape))
    confused = [
        Scene(background, second, first, scene.vertical),
        Scene(background, first, second, not scene.vertical),
        Scene(background, *exchanged, scene.vertical),
    ]
    confused = [
        miss for miss in confused if miss != scene
    ]  # of two red things, exchanged colours are no mistake
    return [Scene(background, *pair, scene.vertical) for pair in rng.sample(changed, 2)] + rng.sample(
        confused, 2
    )


def train(images, prompts, scenes, rng, steps, seed, augment, batch=64, rate=1.2e-3, log=print):
    """A CLIP from images uint8 [N, 64, 64, 3] with their prompts and Scenes; every image also sees four near misses of its own prompt."""
    torch.manual_seed(seed)
    model = create()
    with torch.no_grad():
        model.logit_scale.fill_(2.3)
    solver = Solver(model, rate, steps)
    order, started = torch.randperm(len(images)), time.process_time()
    for step in range(steps):
        pick = order[torch.arange(step * batch, (step + 1) * batch) % len(order)].tolist()
        pictures = augment(images[pick].float() / 255).movedim(-1, 1) * 2 - 1
        texts = [prompts[i] for i in pick]
        wrong = [
            describe(miss, from_second=rng.random() < 0.5)
            for i in pick
            for miss in near_misses(scenes[i], rng)
        ]
        with (
            torch.autocast("cpu", torch.bfloat16),
            sdpa_kernel(SDPBackend.MATH),
        ):  # flash attention's backward is slower at this size
            image_features = model.encode_image(pictures, normalize=True).float()
            text_features = model.encode_text(encode(texts + wrong), normalize=True).float()
        scale = model.logit_scale.exp().clamp(max=60)
        near = (image_features.unsqueeze(1) * text_features[batch:].view(batch, 4, -1)).sum(-1)
        among_texts = torch.cat([image_features @ text_features[:batch].T, near], dim=1) * scale
        same = torch.tensor([[a == b and i != j for j, b in enumerate(texts)] for i, a in enumerate(texts)])
        among_texts[:, :batch].masked_fill_(same, -1e4)
        among_images = (text_features[:batch] @ image_features.T * scale).masked_fill(same, -1e4)
        target = torch.arange(batch)
        loss = (F.cross_entropy(among_texts, target) + F.cross_entropy(among_images, target)) / 2
        solver.update(loss)
        if (step + 1) % 100 == 0:
            log(f"step {step + 1}/{steps} loss {loss.item():.4f} cpu {time.process_time() - started:.0f} s")
    return model.train(False)


@torch.no_grad()
def accuracy(model, images, prompts, scenes, rng, batch=200):
    """Share of images whose prompt fits better than every other prompt given, and better than its own four near misses."""
    image_features = torch.cat(
        [
            model.encode_image(part.movedim(-1, 1).float() / 127.5 - 1, normalize=True)
            for part in images.split(batch)
        ]
    )
    text_features = model.encode_text(encode(prompts), normalize=True)
    retrieved = (
        ((image_features @ text_features.T).argmax(1) == torch.arange(len(images))).float().mean().item()
    )
    near = model.encode_text(
        encode([describe(miss) for scene in scenes for miss in near_misses(scene, rng)]), normalize=True
    ).view(len(images), 4, -1)
    own = (image_features * text_features).sum(-1)
    return retrieved, (own > (image_features.unsqueeze(1) * near).sum(-1).max(1).values).float().mean().item()


def write(model, folder):
    """The open_clip folder: config, fp16 weights, tokenizer."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    save_file(
        {name: value.half().contiguous() for name, value in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
        metadata={"format": "pt"},
    )
    numbers = words()
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(name, numbers[name]) for name in (START, END)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"pad_token": PAD, "unk_token": UNKNOWN, "bos_token": START, "eos_token": END}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "padding_side": "right",
        **special,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
