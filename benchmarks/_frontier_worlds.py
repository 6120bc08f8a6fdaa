"""The worlds of the frontier: what is drawn, what the search sees of it, and what only the tables see.

Each has problems (a prompt, or a number), and deals in three things: `guider` for a problem, `verifier` for a problem, which the
search may ask, and `quality` of images, 0 to 1, by a judge that no search sees.
"""

from __future__ import annotations

import sys
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from _trials import JUDGES, ROOT

sys.path.insert(0, str(ROOT / "testing"))
import comfy.sd  # noqa: E402
import comfy.utils  # noqa: E402
import torch  # noqa: E402
from _mixture import Wish  # noqa: E402
from closed_form import PixelVAE, make_model, uncond  # noqa: E402

from noisesearch.demo.grammar import parse_scene  # noqa: E402
from noisesearch.demo.load import FOLDER, load_world  # noqa: E402
from noisesearch.demo.worlds import WORLDS, held_out_prompts  # noqa: E402
from noisesearch.sampling.stock import cfg_guider, ksampler_sigmas  # noqa: E402
from noisesearch.verifiers.base import Batch, Verifier  # noqa: E402

CARELESS = Path(__file__).with_name("careless.safetensors")
SIDE = 8  # of a scene's latent
STORY = " | "


@dataclass(frozen=True)
class Problem:
    """place: its number in the world. prompt: what the verifier reads."""

    place: int
    prompt: str

    @property
    def tunes(self) -> bool:
        """Whether settings may be chosen on it; by a hash that is the same everywhere."""
        return zlib.crc32(f"{self.place} {self.prompt}".encode()) % 2 == 0


class World:
    """steps, sampler: of the user. rows: how many samples run at once."""

    name: str
    steps: int
    sampler = "euler"
    rows = 32

    def prompts(self):
        """As many prompts as are wanted, one after the other."""
        raise NotImplementedError

    def problems(self, count: int, tuning: bool = False) -> list[Problem]:
        """The first `count` problems to race on, or to choose settings on."""
        found, asked = [], 4 * count + 32
        for place, prompt in enumerate(self.prompts(asked)):
            problem = Problem(place, prompt)
            if problem.tunes == tuning:
                found.append(problem)
        return found[:count]

    def sigmas(self, steps: int) -> torch.Tensor:
        return ksampler_sigmas(self.model, steps, self.sampler, "simple", 1.0)


class Drawn(World):
    """A demo world: its generator, text encoder, codec, verifier and judge."""

    demo = "scenes"
    half = True  # computes in bfloat16: twice as fast here, and what most people do
    prompts_seed = 5

    def __init__(self):
        settings = WORLDS[self.demo]
        self.steps, self.cfg, self.sampler = settings.steps, settings.cfg, settings.sampler
        self.model, self.clip, self.vae = load_world(self.demo)
        if self.half:
            self.model.set_model_compute_dtype(torch.bfloat16)
        kind, verifier, judge = JUDGES[self.demo]
        self.seen, self.unseen = (
            kind(FOLDER / "verifiers" / f"{file}.safetensors") for file in (verifier, judge)
        )
        self.latent = torch.zeros(1, 16, SIDE, SIDE)

    def prompts(self, count):
        return held_out_prompts(self.demo, count, seed=self.prompts_seed)

    def encoded(self, text):
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def conds(self, prompt):
        return self.encoded(prompt), self.encoded("")

    def guider(self, problem):
        return cfg_guider(self.model, *self.conds(problem.prompt), self.cfg)

    def verifier(self, problem):
        return self.seen

    def quality(self, images, problem):
        return self.unseen.correct(Batch(images, problem.prompt)).float()


class Digits(Drawn):
    name = demo = "digits"
    half = False
    rows = 64


class TwoStepDigits(Digits):
    name, demo = "two-step digits", "digits, two-step"


class Scenes(Drawn):
    name = "scenes"


class Careless(Drawn):
    """Scenes of two things, by a generator with a small low-rank patch that makes it err more."""

    name = "careless"
    prompts_seed = 6
    strength = 2.5  # of the patch, as LoraLoader has it

    def __init__(self):
        super().__init__()
        patch = comfy.utils.load_torch_file(str(CARELESS), safe_load=True)
        self.model = comfy.sd.load_lora_for_models(self.model, None, patch, self.strength, 0.0)[0]

    def prompts(self, count):
        return [prompt for prompt in super().prompts(2 * count) if parse_scene(prompt).second][:count]


class Panels(Verifier):
    """Judges a strip of scenes panel by panel: the sum of their scores."""

    name = "panels"
    needs_prompt = True

    def __init__(self, judge):
        self.judge = judge

    def each(self, ask, batch):
        """[B, panels]: what `ask` says of each panel."""
        prompts = batch.prompt.split(STORY)
        strips = batch.images.chunk(len(prompts), dim=2)
        return torch.stack([ask(Batch(strip, prompt)) for strip, prompt in zip(strips, prompts)], dim=1)

    def score(self, batch):
        return self.each(self.judge.score, batch).sum(1)


class Storyboards(Drawn):
    """Scenes side by side in one latent, each prompt with stock area conditioning for its panel. All panels must be right."""

    prompts_seed = 7

    def __init__(self, panels: int = 2):
        self.name, self.panels, self.rows = f"storyboards of {panels}", panels, 32 // panels
        super().__init__()
        self.latent = torch.zeros(1, 16, SIDE, SIDE * panels)
        self.seen, self.unseen = Panels(self.seen), Panels(self.unseen)

    def prompts(self, count):
        scenes = super().prompts(count * self.panels)
        return [STORY.join(scenes[i : i + self.panels]) for i in range(0, len(scenes), self.panels)]

    def conds(self, prompt):
        return tuple(
            [
                [context, {**options, "area": (SIDE, SIDE, 0, SIDE * i), "strength": 1.0}]
                for i, text in enumerate(texts)
                for context, options in self.encoded(text)
            ]
            for texts in (prompt.split(STORY), [""] * self.panels)
        )

    def quality(self, images, problem):
        batch = Batch(images, problem.prompt)
        return self.unseen.each(self.unseen.judge.correct, batch).all(1).float()


class Mixture(World):
    """The closed-form mixture. There is no second judge: the quality is the share of exact samples that a sample beats."""

    name, steps, rows, exact = "mixture", 12, 64, 512

    def __init__(self):
        self.model, self.vae = make_model("CONST"), PixelVAE()
        self.latent = torch.zeros(1, 4, SIDE, SIDE)
        self._marks = {}

    def prompts(self, count):
        return [f"problem {i}" for i in range(count)]

    def guider(self, problem):
        return cfg_guider(self.model, uncond(), uncond(), 1.0)

    def verifier(self, problem):
        return Wish(problem.place)

    @cached_property
    def samples(self):
        """Images of exact samples."""
        exact = self.model.mixture.sample(self.exact, torch.Generator().manual_seed(1))
        return self.vae.decode(self.model.model.process_latent_out(exact.float()))

    def quality(self, images, problem):
        wish = self.verifier(problem)
        if problem.place not in self._marks:
            self._marks[problem.place] = wish.score(Batch(self.samples)).sort().values
        marks = self._marks[problem.place]
        return torch.searchsorted(marks, wish.score(Batch(images)).contiguous()).float() / len(marks)


MAKERS = {
    "storyboards": Storyboards,
    "careless": Careless,
    "scenes": Scenes,
    "digits": Digits,
    "mixture": Mixture,
    "two-step digits": TwoStepDigits,
    "storyboards of 3": lambda: Storyboards(3),
}
