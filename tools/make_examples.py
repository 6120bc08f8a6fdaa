"""Write the example workflows for published models, the smallest demo, and their thumbnails.

    .venv/bin/python tools/make_examples.py [NAME ...]

File names and settings are those of ComfyUI's own templates for the same model. Memory is computed, not measured: weights times bytes,
and ComfyUI's own estimate of what one image needs while it is sampled. The other examples are edited by hand in ComfyUI.
"""

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from comfy_server import ROOT, ComfyServer, base_directory
from example_graph import Graph
from PIL import Image, ImageDraw, ImageFont

FOLDER = ROOT / "example_workflows"
HF = "https://huggingface.co"
IMAGE_REWARD = ("ImageReward.pt", f"{HF}/zai-org/ImageReward/resolve/main/ImageReward.pt", "verifiers")
HPS = ("HPS_v2.1_compressed.pt", f"{HF}/xswu/HPSv2/resolve/main/HPS_v2.1_compressed.pt", "clip_verifiers")
CARD = 12  # GB
RESERVE = 1.0  # GB of a card that the system and ComfyUI keep
JUDGE_GB = 1.0  # ImageReward: 0.48 billion weights in half precision

HOW = """**KSampler (Best of N Search)** stands where KSampler was. It makes `candidates` images, the judge scores each one, and the best goes on.

- It takes the time of that many images. `1` is the plain KSampler.
- The first candidate is the image that KSampler gives for `seed`.
- The judge reads your positive prompt by itself.
- More: raise `candidates`. What was already made is not made again.
"""
JUDGE = """**ImageReward** is the judge: `ImageReward.pt`, 1.8 GB, Apache-2.0.

ComfyUI offers the download when you open this workflow. By hand: get the file from [zai-org/ImageReward]({url}), put it into `ComfyUI/models/verifiers`, press R.

Nothing has to be installed or renamed."""


@dataclass(frozen=True)
class Memory:
    """parts: (what, billions of weights, bytes each). area: of the latent, in its own pixels. factor: ComfyUI's, of the model. rows: 2 with guidance."""

    parts: tuple[tuple[str, float, float], ...]
    area: int
    factor: float
    rows: int

    @property
    def work(self) -> float:
        """GB that one image needs while it is sampled, by ComfyUI's own formula for half precision."""
        return self.area * 2 * 0.01 * self.factor * self.rows / 1024

    @property
    def at_once(self) -> int:
        """How many images a card samples at once beside the diffusion model; 0 when that does not fit itself."""
        return max(0, int((CARD - RESERVE - self.parts[0][1] * self.parts[0][2]) / self.work))

    def __str__(self) -> str:
        rows = [f"| {what} | {weights * size:.1f} |" for what, weights, size in self.parts]
        model = self.parts[0][1] * self.parts[0][2]
        total = sum(weights * size for _, weights, size in self.parts) + JUDGE_GB
        table = "\n".join(["| GB of memory | |", "|---|---:|", *rows, f"| the judge | {JUDGE_GB:.1f} |"])
        table += f"\n| one image while sampling | {self.work:.1f} |"
        fits = f"Fits a card of {CARD} GB: about {self.at_once} images are sampled at once."
        if not self.at_once:
            over = model + self.work + RESERVE - CARD
            fits = f"A card of {CARD} GB is too small for the whole model. ComfyUI keeps about {over:.0f} GB of it in main memory and works more slowly."
        return f"{table}\n\n{fits} Parts that are not in use wait in main memory: {total:.0f} GB in all.\n\nComputed, not measured."


@dataclass(frozen=True)
class Recipe:
    """What differs from model to model. files: for each loader its (class, title, widgets, models)."""

    title: str
    description: str
    prompt: str
    memory: Memory
    about: str
    size: int = 1024
    steps: int = 20
    cfg: float = 7.0
    sampler: str = "euler"
    scheduler: str = "simple"
    candidates: int = 8
    negative: str | None = ""  # None: no negative prompt, as with cfg 1


def checkpoint(name: str, url: str):
    def load(graph):
        loader = graph.node("CheckpointLoaderSimple", 0, ckpt_name=name, models=[(name, url, "checkpoints")])
        return (loader, "MODEL"), (loader, "CLIP"), (loader, "VAE")

    return load


def parts(unet, clip, vae, kind, shift):
    """Loaders of a model that comes in three files, each as (name, address)."""

    def load(graph):
        model = graph.node("UNETLoader", 0, unet_name=unet[0], models=[(*unet, "diffusion_models")])
        text = graph.node("CLIPLoader", 0, clip_name=clip[0], type=kind, models=[(*clip, "text_encoders")])
        image = graph.node("VAELoader", 0, vae_name=vae[0], models=[(*vae, "vae")])
        shifted = graph.node("ModelSamplingAuraFlow", 0, shift=shift, links={"model": (model, "MODEL")})
        return (shifted, "MODEL"), (text, "CLIP"), (image, "VAE")

    return load


def prompts(graph, clip, recipe, guidance=None):
    """(positive, negative) conditioning."""
    positive = graph.node("CLIPTextEncode", 1, "Prompt", text=recipe.prompt, links={"clip": clip})
    if recipe.negative is None:
        negative = graph.node(
            "ConditioningZeroOut",
            1,
            "No negative prompt (cfg is 1)",
            links={"conditioning": (positive, "CONDITIONING")},
        )
    else:
        negative = graph.node(
            "CLIPTextEncode", 1, "Negative prompt", text=recipe.negative, links={"clip": clip}
        )
    if guidance is not None:
        positive = graph.node(
            "FluxGuidance", 1, guidance=guidance, links={"conditioning": (positive, "CONDITIONING")}
        )
    return (positive, "CONDITIONING"), (negative, "CONDITIONING")


def judge(graph, column=2):
    return graph.node(
        "NoiseSearchLoadVerifier",
        column,
        "The judge",
        scorer="ImageReward",
        file=IMAGE_REWARD[0],
        models=[IMAGE_REWARD],
    )


def notes(graph, recipe, column=0):
    graph.note(column, "How it works", HOW, 300)
    graph.note(column, "The judge's file", JUDGE.format(url=f"{HF}/zai-org/ImageReward"), 250)
    graph.note(column, "Memory", f"{recipe.about}\n\n{recipe.memory}", 420)


def text_to_image(recipe, load, empty="EmptyLatentImage", guidance=None):
    """A search with KSampler's settings, its winner saved and its best few shown."""

    def build(name, object_info):
        graph = Graph(name, recipe.title, recipe.description, object_info, (320, 380, 340, 440, 400))
        model, clip, vae = load(graph)
        positive, negative = prompts(graph, clip, recipe, guidance)
        latent = graph.node(empty, 1, width=recipe.size, height=recipe.size)
        verifier = judge(graph, 1)
        search = graph.node(
            "NoiseSearchKSampler",
            2,
            steps=recipe.steps,
            cfg=recipe.cfg,
            sampler_name=recipe.sampler,
            scheduler=recipe.scheduler,
            candidates=recipe.candidates,
            links={
                "model": model,
                "positive": positive,
                "negative": negative,
                "latent_image": (latent, "LATENT"),
                "vae": vae,
                "verifier": (verifier, "verifier"),
            },
        )
        shown(graph, search)
        notes(graph, recipe, 4)
        return graph

    return build


def shown(graph, search, column=3, report=True):
    graph.node(
        "SaveImage", column, "Winner", filename_prefix="noise_search", links={"images": (search, "image")}
    )
    graph.node("PreviewImage", column, "The best few, best first", links={"images": (search, "top_images")})
    if report:
        told = graph.node("NoiseSearchReport", column, links={"report": (search, "report")})
        graph.node("PreviewAny", column, links={"source": (told, "text")})


def first(name, object_info):
    graph = Graph(
        name,
        "Your first search (no download)",
        "A tiny model that comes with the pack, its judge, and a search over 16 images. Runs on any computer in seconds.",
        object_info,
        (330, 330, 340, 400),
    )
    loader = graph.node("NoiseSearchLoadDemoModel", 0, world="scenes")
    verifier = graph.node("NoiseSearchLoadVerifier", 0, "The judge", scorer="scene attributes (demo)")
    graph.note(
        0,
        "Press Run",
        "The model often gets a colour, a shape or a place wrong. The search makes 16 images, the judge compares each with the prompt, and the best one is saved in the output folder.\n\nThe candidates appear at the bottom of **KSampler (Best of N Search)**. Press the full stop key (.) to see the whole graph.\n\nTry `candidates` = 1: that is the image you get without a search. Then write another scene.",
        260,
    )
    positive = graph.node(
        "CLIPTextEncode",
        1,
        "Prompt",
        text="a red circle left of a blue star on a grey background",
        links={"clip": (loader, "clip")},
    )
    negative = graph.node("CLIPTextEncode", 1, "Negative prompt", text="", links={"clip": (loader, "clip")})
    latent = graph.node("EmptySD3LatentImage", 1, width=64, height=64)
    search = graph.node(
        "NoiseSearchKSampler",
        2,
        seed=7,
        steps=15,
        cfg=1.5,
        sampler_name="euler",
        scheduler="simple",
        candidates=16,
        links={
            "model": (loader, "model"),
            "positive": (positive, "CONDITIONING"),
            "negative": (negative, "CONDITIONING"),
            "latent_image": (latent, "LATENT"),
            "vae": (loader, "vae"),
            "verifier": (verifier, "verifier"),
        },
    )
    shown(graph, search, report=False)  # nine nodes are enough to begin with
    return graph


SDXL_MEMORY = (
    ("diffusion model (2.57 billion weights, 16 bit)", 2.57, 2),
    ("text encoders", 0.82, 2),
    ("VAE", 0.08, 4),
)
SDXL_FILE = (
    "sd_xl_base_1.0.safetensors",
    f"{HF}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors",
)
SDXL = Recipe(
    "SDXL: best of 8",
    "SDXL base with ImageReward as the judge. For a card of 12 GB, or 8 GB.",
    "a small red cube on top of a large blue sphere, next to a yellow cone, studio photograph, soft light",
    Memory(SDXL_MEMORY, 128 * 128, 0.8, 2),
    "SDXL base 1.0, 1024 x 1024.",
    steps=25,
    sampler="dpmpp_2m",
    scheduler="karras",
    negative="text, watermark, blurry",
)
TURBO = Recipe(
    "SDXL Turbo: best of 32 in one step each",
    "One step for each image, so that 32 candidates cost what one SDXL image does.",
    "beautiful landscape inside a glass bottle, a galaxy in it, a fennec fox beside it, snow, sunset",
    Memory(SDXL_MEMORY, 64 * 64, 0.8, 1),
    "SDXL Turbo, 512 x 512, one step, cfg 1. For non-commercial use: read its licence.",
    size=512,
    steps=1,
    cfg=1.0,
    sampler="euler_ancestral",
    candidates=32,
    negative="text, watermark",
)
FLUX = Recipe(
    "FLUX.1 dev (fp8): best of 8",
    "The fp8 checkpoint of FLUX.1 dev with ImageReward as the judge.",
    "A cat in a yellow raincoat beside a dog in a blue scarf on a rainy street at night, neon signs mirrored in the puddles.",
    Memory(
        (
            ("diffusion model (11.9 billion weights, 8 bit)", 11.9, 1),
            ("text encoders", 4.9, 1),
            ("VAE", 0.08, 4),
        ),
        128 * 128,
        3.1,
        1,
    ),
    "FLUX.1 dev, 1024 x 1024. It has a licence of its own: read it before commercial use. ImageReward reads about 35 tokens: of a long prompt, write what matters most into `prompt`.",
    cfg=1.0,
    negative=None,
)
SD35 = Recipe(
    "Stable Diffusion 3.5 Large (fp8): best of 8",
    "The fp8 checkpoint of SD 3.5 Large with ImageReward as the judge.",
    "a bottle with a pink and red galaxy inside, on a wooden table in a modern kitchen, mountains behind the window",
    Memory(
        (
            ("diffusion model (8.1 billion weights, 8 bit)", 8.1, 1),
            ("text encoders", 5.6, 1.15),
            ("VAE", 0.08, 4),
        ),
        128 * 128,
        1.2,
        2,
    ),
    "Stable Diffusion 3.5 Large, 1024 x 1024. Read its community licence before commercial use.",
    cfg=4.01,
    scheduler="sgm_uniform",
)
Z_IMAGE = Recipe(
    "Z-Image Turbo: best of 8",
    "Nine steps for each image, with ImageReward as the judge.",
    "a woman with thick wavy hair at a harbour, boats and pastel houses behind her, breezy seaside light, close-up",
    Memory(
        (
            ("diffusion model (6.15 billion weights, 16 bit)", 6.15, 2),
            ("text encoder", 4.0, 2),
            ("VAE", 0.08, 4),
        ),
        128 * 128,
        1.7,
        1,
    ),
    "Z-Image Turbo, 1024 x 1024, 9 steps. Needs ComfyUI 0.3.75 or later.",
    steps=9,
    cfg=1.0,
    sampler="res_multistep",
    negative=None,
)
QWEN = Recipe(
    "Qwen-Image (fp8): best of 4",
    "The fp8 files of Qwen-Image with ImageReward as the judge.",
    'a bookshop on a rainy street in the evening, a neon sign above the door says "OPEN LATE"',
    Memory(
        (
            ("diffusion model (20.4 billion weights, 8 bit)", 20.4, 1),
            ("text encoder", 8.3, 1.13),
            ("VAE", 0.13, 2),
        ),
        166 * 166,
        1.8,
        2,
    ),
    "Qwen-Image, 1328 x 1328. To check spelling, combine the judge with **Spells This Text (OCR, Image Judge)**.",
    size=1328,
    cfg=2.5,
    candidates=4,
)


def turbo(name, object_info):
    graph = Graph(name, TURBO.title, TURBO.description, object_info, (320, 380, 340, 440, 400))
    model, clip, vae = checkpoint(
        "sd_xl_turbo_1.0_fp16.safetensors",
        f"{HF}/stabilityai/sdxl-turbo/resolve/main/sd_xl_turbo_1.0_fp16.safetensors",
    )(graph)
    noise = graph.node("RandomNoise", 0, noise_seed=0)
    sampler = graph.node("KSamplerSelect", 0, sampler_name=TURBO.sampler)
    sigmas = graph.node("SDTurboScheduler", 0, steps=TURBO.steps, denoise=1.0, links={"model": model})
    positive, negative = prompts(graph, clip, TURBO)
    latent = graph.node("EmptyLatentImage", 1, width=TURBO.size, height=TURBO.size)
    verifier = judge(graph, 1)
    guider = graph.node(
        "CFGGuider", 2, cfg=TURBO.cfg, links={"model": model, "positive": positive, "negative": negative}
    )
    search = graph.node(
        "NoiseSearchSampler",
        2,
        candidates=TURBO.candidates,
        links={
            "noise": (noise, "NOISE"),
            "guider": (guider, "GUIDER"),
            "sampler": (sampler, "SAMPLER"),
            "sigmas": (sigmas, "SIGMAS"),
            "latent_image": (latent, "LATENT"),
            "vae": vae,
            "verifier": (verifier, "verifier"),
        },
    )
    shown(graph, search)
    notes(graph, TURBO, 4)
    return graph


def two_judges(name, object_info):
    """SDXL with a second judge that only watches; the one example that needs a package."""
    graph = text_to_image(SDXL, checkpoint(*SDXL_FILE))(name, object_info)
    graph.info = {
        "name": "SDXL with a second judge that only watches",
        "description": "ImageReward chooses, HPSv2.1 is reported and never chooses. Needs the package open_clip_torch.",
    }
    chooser = next(node["id"] for node in graph.nodes if node["type"] == "NoiseSearchLoadVerifier")
    search = next(node for node in graph.nodes if node["type"] == "NoiseSearchKSampler")
    graph.unlink(search["id"], "verifier")
    watcher = graph.node(
        "NoiseSearchLoadVerifier",
        1,
        "The judge that only watches",
        scorer="HPSv2.1",
        file=HPS[0],
        models=[HPS],
    )
    both = graph.node(
        "NoiseSearchVerifierEnsemble",
        2,
        links={"verifier_1": (chooser, "verifier"), "held_out": (watcher, "verifier")},
    )
    graph.link(both, "verifier", search["id"], "verifier")
    graph.note(
        3,
        "The second judge",
        f"**HPSv2.1**: `HPS_v2.1_compressed.pt`, 2.0 GB, Apache-2.0, from [xswu/HPSv2]({HF}/xswu/HPSv2) into `ComfyUI/models/clip_verifiers`. It runs in a package: `pip install open_clip_torch` in ComfyUI's Python.\n\nIt has no say. If its score falls while the winner's rises, the search is fooling ImageReward: take fewer candidates, or connect it to `verifier_2`.",
        240,
    )
    return graph


QWEN3_VL = (
    "qwen3vl_4b_fp8_scaled.safetensors",
    f"{HF}/Comfy-Org/Qwen3-VL/resolve/main/text_encoders/qwen3vl_4b_fp8_scaled.safetensors",
    "text_encoders",
)
QUESTIONS = """Is there a red cube?
Is the red cube on top of a blue sphere?
Is there a yellow cone?
Is the yellow cone to the right of the blue sphere?
Is there exactly one cube?"""


def vision_model(name, object_info):
    """SDXL judged by a vision-language model that answers questions; ImageReward only watches."""
    graph = text_to_image(SDXL, checkpoint(*SDXL_FILE))(name, object_info)
    graph.info = {
        "name": "SDXL with a judge that reads the picture",
        "description": "Qwen3-VL answers your questions about each image, and ImageReward only watches. Needs ComfyUI 0.26 or later.",
    }
    watcher = next(node["id"] for node in graph.nodes if node["type"] == "NoiseSearchLoadVerifier")
    search = next(node for node in graph.nodes if node["type"] == "NoiseSearchKSampler")
    prompt = next(node for node in graph.nodes if node["type"] == "CLIPTextEncode")
    prompt["widgets_values"] = [
        "a red cube on top of a blue sphere, a yellow cone to the right of them, studio photograph"
    ]
    graph.unlink(search["id"], "verifier")
    model = graph.node("CLIPLoader", 1, "The judge's model", clip_name=QWEN3_VL[0], models=[QWEN3_VL])
    asked = graph.node(
        "NoiseSearchVLMJudge",
        1,
        "The judge that chooses",
        ask="checks of the prompt",
        text=QUESTIONS,
        links={"clip": (model, "CLIP")},
    )
    both = graph.node(
        "NoiseSearchVerifierEnsemble",
        2,
        links={"verifier_1": (asked, "verifier"), "held_out": (watcher, "verifier")},
    )
    graph.link(both, "verifier", search["id"], "verifier")
    graph.note(
        3,
        "The judge reads the picture",
        f"**Qwen3-VL 4B**: `{QWEN3_VL[0]}`, Apache-2.0, from [Comfy-Org/Qwen3-VL]({HF}/Comfy-Org/Qwen3-VL) into `ComfyUI/models/text_encoders`. It is the encoder of Krea 2 and others too. ComfyUI 0.26 or later reads it.\n\nWrite what must be right as questions, one a line. With no text there it makes them of the prompt by itself. The winner's answers stand below the search, all others in the report.\n\nWriting in a picture can talk to such a judge, so **ImageReward** watches: if its score falls while the winner's rises, the search is fooling the judge.",
        330,
    )
    return graph


def small_then_large(name, object_info):
    recipe = SDXL
    graph = Graph(
        name,
        "SDXL: search small, upscale the winner",
        "The search runs at 768 x 768, which is nearly twice as fast. Only the winner is made large.",
        object_info,
        (320, 380, 340, 340, 440, 400),
    )
    model, clip, vae = checkpoint(*SDXL_FILE)(graph)
    positive, negative = prompts(graph, clip, recipe)
    latent = graph.node("EmptyLatentImage", 1, width=768, height=768)
    verifier = judge(graph, 1)
    common = {"model": model, "positive": positive, "negative": negative}
    settings = {"cfg": recipe.cfg, "sampler_name": recipe.sampler, "scheduler": recipe.scheduler}
    search = graph.node(
        "NoiseSearchKSampler",
        2,
        steps=recipe.steps,
        candidates=recipe.candidates,
        links={**common, "latent_image": (latent, "LATENT"), "vae": vae, "verifier": (verifier, "verifier")},
        **settings,
    )
    large = graph.node(
        "LatentUpscaleBy", 3, upscale_method="bicubic", scale_by=1.5, links={"samples": (search, "LATENT")}
    )
    again = graph.node(
        "KSampler",
        3,
        "The winner, large",
        steps=recipe.steps,
        denoise=0.5,
        links={**common, "latent_image": (large, "LATENT")},
        **settings,
    )
    decoded = graph.node("VAEDecode", 3, links={"samples": (again, "LATENT"), "vae": vae})
    graph.node(
        "SaveImage",
        4,
        "Winner, 1152 x 1152",
        filename_prefix="noise_search_large",
        links={"images": (decoded, "IMAGE")},
    )
    graph.node("PreviewImage", 4, "The best few, small", links={"images": (search, "top_images")})
    graph.note(
        5,
        "Small, then large",
        "The judge chooses among small images. The winner's latent is enlarged and sampled again with `denoise` 0.5: lower keeps more of it.\n\nThe enlarged image is not judged. Put **Score and Sort Images** behind it to see whether it kept its score.",
        200,
    )
    notes(graph, recipe, 5)
    return graph


def embedded(graph, world, scorer, text, search, **settings):
    """KSampler's search on a model that comes with the pack; `search`: (node, output) of its method."""
    loader = graph.node("NoiseSearchLoadDemoModel", 0, world=world)
    verifier = graph.node("NoiseSearchLoadVerifier", 0, "The judge", scorer=scorer)
    method = graph.node(search[0], 0, **search[1])
    clip = (loader, "clip")
    positive = graph.node("CLIPTextEncode", 1, "Prompt", text=text, links={"clip": clip})
    negative = graph.node("CLIPTextEncode", 1, "Negative prompt", text="", links={"clip": clip})
    latent = graph.node("EmptySD3LatentImage", 1, width=64, height=64)
    found = graph.node(
        "NoiseSearchKSampler",
        2,
        scheduler="simple",
        candidates=16,
        links={
            "model": (loader, "model"),
            "positive": (positive, "CONDITIONING"),
            "negative": (negative, "CONDITIONING"),
            "latent_image": (latent, "LATENT"),
            "vae": (loader, "vae"),
            "verifier": (verifier, "verifier"),
            "search": (method, "search"),
        },
        **settings,
    )
    shown(graph, found)
    return graph


def automatic(name, object_info):
    graph = Graph(
        name,
        "Search: Auto (no download)",
        "The search method is chosen for you, by your budget and your sampler. The report says which it was, and why.",
        object_info,
        (330, 330, 340, 440, 400),
    )
    text = "a red circle left of a blue star on a grey background"
    search = ("NoiseSearchAuto", {})
    settings = {"seed": 7, "steps": 15, "cfg": 1.5, "sampler_name": "euler"}
    embedded(graph, "scenes", "scene attributes (demo)", text, search, **settings)
    graph.note(
        4,
        "What does it choose?",
        "Run, and read its line in the report.\n\n- For the cost of 2 to 32 whole images it branches midway, one step a round (**Search: Branch Midway (Paths)**). Such a winner comes back with **Remake Winner**, not from its seed.\n- For less or more, or with a sampler that draws noise on the way: random seeds, on drafts of few steps where they pay.\n\nTry `candidates` = 4: four images' worth of work is enough here. To choose yourself, connect another Search node.",
        280,
    )
    return graph


def evolved(name, object_info):
    graph = Graph(
        name,
        "Search: Evolve Noises, on drafts (no download)",
        "Many drafts of few steps: random ones first, then more around the best. The best two are rendered with all steps.",
        object_info,
        (330, 330, 340, 440, 400),
    )
    text = "a yellow heart above a purple ring on a navy background"
    search = ("NoiseSearchEvolution", {})
    settings = {"seed": 7, "steps": 15, "cfg": 1.5, "sampler_name": "euler", "draft_steps": 4}
    embedded(graph, "scenes", "scene attributes (demo)", text, search, **settings)
    graph.note(
        4,
        "When does it pay?",
        "With many candidates: 16 images of 15 steps pay for about 50 drafts of 4. The first 16 drafts are random seeds; then noises near the best four are tried, further away after a success and nearer after a failure.\n\n- With `candidates` = 4 it is a plain random search.\n- A seed does not bring the winner back. Keep the `recipe`, and use **Remake Winner**.",
        240,
    )
    return graph


def varied(name, object_info):
    graph = Graph(
        name,
        "Vary Conditioning, for turbo models (no download)",
        "Each candidate also gets a little noise on the prompt. For turbo models, which make nearly the same image of every seed.",
        object_info,
        (330, 330, 340, 440, 400),
    )
    search = ("NoiseSearchVaryConditioning", {"strength": 1.0})
    settings = {"seed": 7, "steps": 2, "cfg": 1.0, "sampler_name": "lcm", "keep_top": 9}
    embedded(graph, "digits, two-step", "digit classifier (demo)", "digit two", search, **settings)
    graph.note(
        4,
        "Do you need it?",
        "The report says how different the candidates look: `spread` 0 = all the same, 1 = nothing in common. A note warns when it is small. Bypass **Search: Vary Conditioning** and run again: that is the spread without it. The seeds of this tiny model differ already, so little changes here.\n\n- Too alike: raise `strength`. Astray from the prompt: lower it, or lower `first_part`.\n- Any other search goes into its `search` input.\n- A seed alone does not bring a winner back. Keep the `recipe`, and use **Remake Winner** with the same prompt.",
        280,
    )
    return graph


PROMPTS = """# One prompt a line. Lines that begin with # are left out.
a lighthouse on a cliff in a storm, oil painting
a bowl of ramen on a wooden table, steam, close-up
an astronaut playing chess with a robot in a park"""


def overnight(name, object_info):
    recipe = SDXL
    graph = Graph(
        name,
        "A list of prompts overnight (SDXL)",
        "One search for each line of a list. Each saves its winner and a contact sheet at once, and an interrupted night goes on where it was.",
        object_info,
        (340, 380, 340, 440, 400),
    )
    lines = graph.node("NoiseSearchPromptList", 0, prompts=PROMPTS, control="increment")
    model, clip, vae = checkpoint(*SDXL_FILE)(graph)
    verifier = judge(graph, 0)
    positive = graph.node("CLIPTextEncode", 1, "Prompt", links={"clip": clip, "text": (lines, "prompt")})
    negative = graph.node("CLIPTextEncode", 1, "Negative prompt", text=recipe.negative, links={"clip": clip})
    latent = graph.node("EmptyLatentImage", 1, width=1024, height=1024)
    search = graph.node(
        "NoiseSearchKSampler",
        2,
        steps=recipe.steps,
        cfg=recipe.cfg,
        sampler_name=recipe.sampler,
        scheduler=recipe.scheduler,
        candidates=16,
        keep_top=9,
        links={
            "model": model,
            "positive": (positive, "CONDITIONING"),
            "negative": (negative, "CONDITIONING"),
            "latent_image": (latent, "LATENT"),
            "vae": vae,
            "verifier": (verifier, "verifier"),
            "prompt": (lines, "prompt"),
        },
    )
    sheet = graph.node("NoiseSearchContactSheet", 3, links={"images": (search, "top_images")})
    graph.node(
        "SaveImage", 3, "Winner", links={"images": (search, "image"), "filename_prefix": (lines, "file_name")}
    )
    graph.node(
        "SaveImage",
        3,
        "Contact sheet",
        filename_prefix="sheets/noise_search",
        links={"images": (sheet, "sheet")},
    )
    graph.note(
        4,
        "A night of prompts",
        "1. Write your prompts, one a line.\n2. Set the run count beside Run to the number of prompts. Run.\n3. In the morning look at the sheets.\n\nAfter an interruption set `number` to the first prompt that is missing, and run again. A search that was cut off goes on where it was.",
        240,
    )
    notes(graph, recipe, 4)
    return graph


def folder(name, object_info):
    graph = Graph(
        name,
        "Score a folder of images",
        "Sorts the images of a folder by how clean they are, and saves the best. Needs no download.",
        object_info,
        (340, 340, 400, 400),
    )
    images = graph.node("NoiseSearchLoadFolder", 0, "The folder")
    verifier = graph.node("NoiseSearchLoadVerifier", 0, "The judge", scorer="image quality (BRISQUE)")
    scored = graph.node(
        "NoiseSearchScoreImages",
        1,
        keep_top=4,
        links={"images": (images, "images"), "verifier": (verifier, "verifier")},
    )
    graph.note(
        1,
        "Your own images, and other judges",
        "Put images of any size into a folder in `ComfyUI/input`, press R, and choose the folder.\n\nThis judge knows photos: noise, blur and blocks cost points. It does not read the prompt. For that choose **ImageReward** in the judge's list, and write into `prompt` what the images should show.",
        230,
    )
    graph.node(
        "SaveImage",
        2,
        "Kept, best first",
        filename_prefix="noise_search/kept",
        links={"images": (scored, "kept")},
    )
    graph.node("PreviewImage", 3, "The others", links={"images": (scored, "rejected")})
    return graph


EXAMPLES = {
    "a_first_search": first,
    "score_a_folder": folder,
    "sdxl_text_to_image": text_to_image(SDXL, checkpoint(*SDXL_FILE)),
    "sdxl_turbo": turbo,
    "search_auto": automatic,
    "evolve_drafts": evolved,
    "vary_conditioning": varied,
    "sdxl_second_judge": two_judges,
    "vlm_judge": vision_model,
    "search_small_upscale_winner": small_then_large,
    "prompts_overnight": overnight,
    "flux_text_to_image": text_to_image(
        FLUX,
        checkpoint(
            "flux1-dev-fp8.safetensors", f"{HF}/Comfy-Org/flux1-dev/resolve/main/flux1-dev-fp8.safetensors"
        ),
        "EmptySD3LatentImage",
        3.5,
    ),
    "sd35_text_to_image": text_to_image(
        SD35,
        checkpoint(
            "sd3.5_large_fp8_scaled.safetensors",
            f"{HF}/Comfy-Org/stable-diffusion-3.5-fp8/resolve/main/sd3.5_large_fp8_scaled.safetensors",
        ),
        "EmptySD3LatentImage",
    ),
    "z_image_turbo": text_to_image(
        Z_IMAGE,
        parts(
            (
                "z_image_turbo_bf16.safetensors",
                f"{HF}/Comfy-Org/z_image_turbo/resolve/main/split_files/diffusion_models/z_image_turbo_bf16.safetensors",
            ),
            (
                "qwen_3_4b.safetensors",
                f"{HF}/Comfy-Org/z_image_turbo/resolve/main/split_files/text_encoders/qwen_3_4b.safetensors",
            ),
            ("ae.safetensors", f"{HF}/Comfy-Org/z_image_turbo/resolve/main/split_files/vae/ae.safetensors"),
            "lumina2",
            3.0,
        ),
        "EmptySD3LatentImage",
    ),
    "qwen_image": text_to_image(
        QWEN,
        parts(
            (
                "qwen_image_fp8_e4m3fn.safetensors",
                f"{HF}/Comfy-Org/Qwen-Image_ComfyUI/resolve/main/split_files/diffusion_models/qwen_image_fp8_e4m3fn.safetensors",
            ),
            (
                "qwen_2.5_vl_7b_fp8_scaled.safetensors",
                f"{HF}/Comfy-Org/Qwen-Image_ComfyUI/resolve/main/split_files/text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors",
            ),
            (
                "qwen_image_vae.safetensors",
                f"{HF}/Comfy-Org/Qwen-Image_ComfyUI/resolve/main/split_files/vae/qwen_image_vae.safetensors",
            ),
            "qwen_image",
            3.1,
        ),
        "EmptySD3LatentImage",
    ),
}


SIZE = (512, 340)
DARK, LIGHT, ACCENT = "#1d1f26", "#e8e8ea", "#f2b134"


def thumbnail(title: str, candidates: int) -> Image.Image:
    """A drawn card: the model's name, and one tile of many in colour. No picture is shown that nobody made."""
    canvas = Image.new("RGB", SIZE, DARK)
    draw = ImageDraw.Draw(canvas)
    head, _, rest = title.partition(": ")
    draw.text((28, 30), head, LIGHT, ImageFont.load_default(34 if len(head) < 26 else 24))
    if rest:
        draw.text((28, 80), rest, ACCENT, ImageFont.load_default(24))
    columns = min(candidates, 8)
    rows = -(-candidates // columns)
    side = min(54, (SIZE[0] - 56) // columns - 8, 190 // rows - 8)
    for i in range(candidates):
        left, top = 28 + i % columns * (side + 8), 132 + i // columns * (side + 8)
        chosen = i == candidates * 5 // 8
        draw.rounded_rectangle(
            (left, top, left + side, top + side),
            6,
            ACCENT if chosen else "#343844",
            LIGHT if chosen else None,
            2,
        )
    return canvas


def main(names) -> int:
    comfyui = Path(os.environ.get("NOISESEARCH_COMFYUI", ROOT / ".comfyui" / "ComfyUI"))
    with tempfile.TemporaryDirectory() as folder:
        base = base_directory(Path(folder) / "base")
        with ComfyServer(comfyui, base, log=Path(folder) / "server.log") as server:
            object_info = server.object_info()
    for name in names or EXAMPLES:
        graph = EXAMPLES[name](name, object_info)
        path = FOLDER / f"{name}.json"
        path.write_text(json.dumps(graph.to_json(), indent=2, ensure_ascii=False) + "\n", "utf-8")
        if any("models" in node["properties"] for node in graph.nodes):  # others: tools/workflow_pictures.py
            sampler = next(
                n for n in graph.nodes if n["type"] in ("NoiseSearchKSampler", "NoiseSearchSampler")
            )
            count = graph.value(sampler, "candidates")
            thumbnail(graph.info["name"], count).save(path.with_suffix(".jpg"), quality=88)
        print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
