"""Searches on the embedded demo models, recorded candidate by candidate, and statistics over them. Shared by the benchmarks."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from pack import use_comfyui  # noqa: E402

use_comfyui(os.environ.get("NOISESEARCH_COMFYUI", ROOT / ".comfyui" / "ComfyUI"))
import comfy.samplers  # noqa: E402
import torch  # noqa: E402

from noisesearch.demo.load import FOLDER, load_world  # noqa: E402
from noisesearch.demo.worlds import WORLDS  # noqa: E402
from noisesearch.sampling.stock import cfg_guider, ksampler_sigmas  # noqa: E402
from noisesearch.session.run import Wishes, search_images  # noqa: E402
from noisesearch.demo.attributes import SceneAttributes  # noqa: E402
from noisesearch.verifiers.base import Verifier  # noqa: E402
from noisesearch.demo.digits import DigitClassifier  # noqa: E402
from noisesearch.verifiers.ensemble import as_ensemble  # noqa: E402

torch.set_num_threads(1)
JUDGES = {
    "digits": (DigitClassifier, "digits_classifier", "digits_judge"),
    "scenes": (SceneAttributes, "scenes_attributes", "scenes_judge"),
}
JUDGES["digits, two-step"] = JUDGES["digits"]


class Verdict(Verifier):
    """The independent judge as a held-out verifier: 1 where everything the prompt asks for is right, else 0. Remembers the images it saw."""

    name = "judge"
    needs_prompt = True

    def __init__(self, judge):
        self.judge, self.images = judge, []

    def score(self, batch):
        self.images += list(batch.images.cpu())
        return self.judge.correct(batch).float()


@dataclass
class Trial:
    """One search: what each candidate cost, scored, was judged, and looks like; in the order they ran."""

    prompt: str
    seed: int
    nfe: list[int]
    scores: list[float]
    verdicts: list[float]
    images: list[torch.Tensor]
    winner: int
    rows: list[tuple[float, ...]] = field(
        default_factory=list
    )  # where several verifiers scored: all their scores

    def best_within(self, budget: int) -> int | None:
        """Index of the best finished candidate among those that `budget` NFE pay for."""
        spent, best = 0, None
        for i, (nfe, score) in enumerate(zip(self.nfe, self.scores)):
            spent += nfe
            if spent > budget:
                break
            if best is None or score > self.scores[best]:
                best = i
        return best

    def spent_within(self, budget: int) -> int:
        """NFE of the candidates, in the order they ran, that `budget` NFE pay for."""
        return max((spent for spent in accumulate(self.nfe) if spent <= budget), default=0)


class World:
    """A demo world ready to be searched with its recommended settings."""

    def __init__(self, name: str):
        self.name, self.settings = name, WORLDS[name]
        self.model, self.clip, self.vae = load_world(name)
        kind, verifier, judge = JUDGES[name]
        self.verifier, self.judge = (
            kind(FOLDER / "verifiers" / f"{file}.safetensors") for file in (verifier, judge)
        )

    def guider(self, prompt: str):
        conds = (self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text)) for text in (prompt, ""))
        return cfg_guider(self.model, *conds, self.settings.cfg)

    def sigmas(self, steps: int | None = None):
        world = self.settings
        return ksampler_sigmas(self.model, steps or world.steps, world.sampler, world.scheduler, 1.0)

    @property
    def latent(self):
        return {"samples": torch.zeros(1, 16, self.settings.size // 8, self.settings.size // 8)}

    @torch.inference_mode()
    def search(
        self, settings, prompt: str, seed: int, verifier=None, steps: int | None = None, **wishes
    ) -> Trial:
        """One search with the world's own verifier (or another, or an ensemble), the judge held out. Unscored starting points are added to the cost of what follows."""
        verdict = Verdict(self.judge)
        judged = replace(as_ensemble(verifier or self.verifier), held_out=verdict)
        found = search_images(
            self.guider(prompt),
            comfy.samplers.sampler_object(self.settings.sampler),
            self.sigmas(steps),
            self.latent,
            seed,
            settings,
            judged,
            self.vae,
            prompt,
            Wishes(keep_top=1, **wishes),
        )
        image = found.report["images"][0]
        rows = [c for c in image["candidates"] if c["scores"]]
        rows[0]["nfe"] += sum(c["nfe"] for c in image["candidates"] if not c["scores"])
        return Trial(
            prompt,
            seed,
            [c["nfe"] for c in rows],
            [c["scores"][0] for c in rows],
            [c["held_out"] for c in rows],
            verdict.images,
            next(i for i, c in enumerate(rows) if c["id"] == image["winner"]["id"]),
            [tuple(c["scores"]) for c in rows],
        )


def mean(values, per: int = 1) -> tuple[float, float]:
    """(mean, half width of its 95 % interval, normal approximation). per: that many values in a row belong to one problem, and count as one."""
    values = torch.as_tensor(list(values), dtype=torch.float64).view(-1, per).mean(1)
    return float(values.mean()), 1.96 * float(values.std(correction=1)) / math.sqrt(len(values))


def jackknife(statistic, values: torch.Tensor, per: int = 1) -> tuple[float, float]:
    """(a statistic of all values, half width of its 95 % interval from leaving out `per` values in a row, a problem, at a time; Efron and Stein 1981)."""
    groups = len(values) // per
    without = torch.tensor(
        [statistic(torch.cat([values[: g * per], values[(g + 1) * per :]])) for g in range(groups)],
        dtype=torch.float64,
    )
    return float(statistic(values)), 1.96 * math.sqrt((groups - 1) * float(without.var(correction=0)))


def percent(values, per: int = 1) -> str:
    """The share of ones with its 95 % interval as `mean` has it."""
    middle, about = mean(values, per)
    return f"{middle:.0%} ± {about:.0%}"


def share(values, per: int = 1) -> tuple[float, float, float]:
    """(share of ones, low, high): the Wilson 95 % interval. per: that many values in a row belong to one problem, and are worth as many independent ones as their variance says."""
    values = torch.as_tensor(list(values), dtype=torch.float64).view(-1, per)
    problems, p, z = len(values), float(values.mean()), 1.96
    variance = float(values.mean(1).var(correction=1)) / problems
    n = min(max(p * (1 - p) / variance, problems), problems * per) if variance > 0 else problems
    centre, spread = (
        (p + z * z / (2 * n)) / (1 + z * z / n),
        z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)),
    )
    return p, max(0.0, centre - spread), min(1.0, centre + spread)


def interval(values, per: int = 1) -> str:
    return "{:.0%} ({:.0%} to {:.0%})".format(*share(values, per))


def diversity(images: list[torch.Tensor]) -> float:
    """Mean root-mean-square pixel distance between all pairs of images; 0 = all the same."""
    flat = torch.stack([image.flatten() for image in images]).double()
    return float(torch.pdist(flat).mean() / math.sqrt(flat.shape[1]))
