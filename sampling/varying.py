"""Noise on the conditioning, another one for each candidate: for models that make nearly the same image of every seed.

Each token vector c of the prompt becomes a vector of the same length, turned by the angle atan(strength) in a random direction:

    c' = |c| (u + strength w) / |u + strength w|,   u = c / |c|,   w = a random unit vector orthogonal to u

for the first part of the steps; after that the prompt is as the user wrote it. (Annealed noise on the conditioning: CADS, Sadat et al.,
arXiv 2310.17347.) The random directions come from the candidate's own noise recipe, drawn on the CPU in the shape of the tokens, so that
neighbouring noises have neighbouring prompts, and a recipe gives its image again.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Sequence
from typing import Any

import torch

from ..search.noise import Draw, NoiseRecipe
from ..search.seeds import mix

OF_ITS_OWN = 6  # tells these random numbers from all others of a seed
TOKENS = "cross_attn"
START, END = "timestep_start", "timestep_end"  # sigmas between which ComfyUI uses a conditioning
PERCENTS = {START: ("start_percent", "clip_start_percent"), END: ("end_percent", "clip_end_percent")}


class Varying:
    """sigmas: the user's schedule. index: which sample of the latent batch this is."""

    def __init__(self, sigmas: torch.Tensor, model_sampling: Any, index: int) -> None:
        self.sigmas, self.model_sampling, self.index = sigmas, model_sampling, index

    def guider(self, guider: Any, roots: Sequence[NoiseRecipe]) -> Any:
        """The guider for a batch of candidates that begin with these noises, all of one `vary`; itself where that is None.

        Row i of the batch gets the conditioning of roots[i]. Raises ValueError where there is no prompt to vary.
        """
        if roots[0].vary is None:
            return guider
        strength, share = roots[0].vary
        one = copy.copy(guider)
        one.original_conds = {
            name: [part for cond in conds for part in self._parts(cond, roots, strength, share)]
            if varies(name)
            else conds
            for name, conds in guider.original_conds.items()
        }
        check(guider)
        return one

    def _parts(self, cond: dict, roots: Sequence[NoiseRecipe], strength: float, share: float) -> list[dict]:
        """The conditioning with noise for the first part of the steps, and as it is for the rest."""
        tokens = cond.get(TOKENS)
        if not isinstance(tokens, torch.Tensor):
            return [cond]
        rows = [varied(tokens, root.noise(_drawn(tokens, self.index)), strength) for root in roots]
        first = {**cond, TOKENS: torch.cat(rows), "uuid": uuid.uuid4()}
        until = self._until(share)
        if until is None:
            return [first]
        return [self._within(first, END, until, max), self._within(cond, START, until, min)]

    def _until(self, share: float) -> float | None:
        """The sigma down to which is varied, between two levels of the schedule; None = to the end. The first step always is."""
        last = len(self.sigmas) - 1
        step = min(max(1, round(share * last)), last)
        return None if step == last else float(self.sigmas[step - 1] + self.sigmas[step]) / 2

    def _within(self, cond: dict, end: str, sigma: float, tighter: Any) -> dict:
        """The conditioning within one more bound; those that the user set in percent stay."""
        one = {**cond, "uuid": uuid.uuid4()}
        for bound, names in PERCENTS.items():
            given = [one.pop(name) for name in names if name in one]
            if given:
                percent = max(given) if bound == START else min(given)
                one[bound] = float(self.model_sampling.percent_to_sigma(percent))
        one[end] = tighter(one[end], sigma) if end in one else sigma
        return one


def varies(name: str) -> bool:
    """Whether a guider's conditioning of this name says what to paint, and not what to keep out."""
    return "negative" not in name and "empty" not in name


def check(guider: Any) -> None:
    """Raise ValueError unless there are tokens to vary."""
    conds = [cond for name, conds in guider.original_conds.items() if varies(name) for cond in conds]
    if not any(isinstance(cond.get(TOKENS), torch.Tensor) for cond in conds):
        raise ValueError(
            "The conditioning cannot be varied: this model is not prompted by tokens. Take the search without Vary Conditioning."
        )


def varied(tokens: torch.Tensor, noise: torch.Tensor, strength: float) -> torch.Tensor:
    """tokens [1, ..., D] of which each vector is turned by atan(strength) towards the noise's, [1, ..., D]; zeros stay zeros."""
    c, n = tokens.double().cpu(), noise.double()
    length = c.norm(dim=-1, keepdim=True)
    u = c / length.clamp(min=1e-30)
    w = n - (n * u).sum(-1, keepdim=True) * u
    w = w / w.norm(dim=-1, keepdim=True).clamp(min=1e-30)
    turned = (u + strength * w) / (1.0 + strength * strength) ** 0.5
    return (length * turned).to(tokens)


def _drawn(tokens: torch.Tensor, index: int) -> Draw:
    def draw(seed: int) -> torch.Tensor:
        generator = torch.Generator("cpu").manual_seed(mix(seed, index, OF_ITS_OWN))
        return torch.randn(tokens.shape, generator=generator)

    return draw
