"""What a search hands back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ..search.driver import Limits, Result
from ..search.rollout import Recipe
from ..search.algorithms.base import Search
from .decoding import flat
from .noises import RecipeNoise


@dataclass(frozen=True)
class FoundOne:
    """The result for one sample of the batch.

    wished: the settings before planning (those it ran with are in `result`). latents, images: of the best few, best first. denoised: the
    winner's last clean prediction. scores, held_out: of the winner as it is handed on. leading: the one of them that speaks where one number must, NaN without a
    judge. chosen: the id of the winner among the candidates. top_ids, top_recipes, top_scores: of `latents`. rendered: which of top_ids
    are drafts that were rendered with all steps. drafts: what the report says of them, None where there were none. rows: samples that ran at once, at the end; batching: whether they shared batches, and why.
    answers: what scores were made of, by outcome id and verifier. foresight: how previews agreed with later looks (`foresight.py`).
    spread: how different candidates look (`sampling/spread.py`), None for few of them. forecast: what more candidates would bring
    (`prospect.py`), None where nothing was compared. notes: what the user should know.
    """

    wished: Search
    result: Result
    limits: Limits
    announcement: str
    recipe: Recipe
    latents: list[torch.Tensor]
    denoised: torch.Tensor
    images: list[torch.Tensor]
    scores: tuple[float, ...]
    leading: float
    chosen: int
    held_out: float | None
    witness: dict
    answers: dict
    top_ids: list[int]
    top_recipes: list[Recipe]
    top_scores: list[tuple[float, ...]]
    search_nfe: int
    final_nfe: int
    rows: int
    batching: str
    rendered: frozenset[int] = frozenset()
    drafts: dict[str, Any] | None = None
    foresight: list[dict] = field(default_factory=list)
    spread: float | None = None
    forecast: dict | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """The winners of all samples of the batch, in order; `top_*`: the best few of each."""

    latent: dict
    denoised: dict
    images: torch.Tensor
    top_images: torch.Tensor
    top_latents: dict
    recipes: list[Recipe]
    scores: list[float]
    report: dict
    found: list[FoundOne]

    @property
    def seed(self) -> int:
        return self.recipes[0].root.seed

    def noise(self) -> RecipeNoise:
        """The winning noise as a stock NOISE; for lineages of several pieces an object that says why there is none."""
        return RecipeNoise(self.recipes)


def assembled(latent: dict, found: list[FoundOne], report: dict) -> Found:
    """The results of all samples as the stock types that nodes hand on. latent: the LATENT that was searched."""

    def latents(rows: list[torch.Tensor], **changes: Any) -> dict:
        return {**latent, "samples": torch.cat(rows), **changes}

    places = {"batch_index": [one.recipe.index for one in found for _ in one.latents]}
    top_latents = latents([row for one in found for row in one.latents], **places)
    top_latents.pop("noise_mask", None)
    return Found(
        latent=latents([one.latents[0] for one in found]),
        denoised=latents([one.denoised for one in found]),
        images=flat([one.images[0] for one in found]),
        top_images=flat([image for one in found for image in one.images]),
        top_latents=top_latents,
        recipes=[one.recipe for one in found],
        scores=[one.leading for one in found],
        report=report,
        found=found,
    )
