"""NOISE objects, to and from recipes."""

from __future__ import annotations

import operator
from typing import Any

import comfy.sample
import torch

from .. import compat
from ..sampling.seeded import seeded_noise
from ..search.noise import Draw, NoiseRecipe
from ..search.rollout import MOST_INDEX, Recipe
from ..untrusted import Short, excerpt


class RecipeNoise(Short):
    """A stock-compatible NOISE that rebuilds searched noises. `seed` also seeds stochastic samplers, as with stock RandomNoise."""

    def __init__(self, recipes: list[Recipe]) -> None:
        self.recipes = recipes
        self.seed = recipes[0].root.seed

    def check(self) -> None:
        """Raise ValueError unless an initial noise says it all."""
        if any(recipe.root.vary for recipe in self.recipes):
            raise ValueError(
                "The conditioning of this image was varied too, so its noise alone does not give it again. Connect its recipe to Remake Winner, and that to KSampler (Best of N Search) or SamplerCustomAdvanced (Best of N Search)."
            )
        if any(len(recipe.pieces) > 1 for recipe in self.recipes):
            raise ValueError(
                "This image was not made in one go: noise was put back in along the sampling path, or its sample was cut and went on with a sampler that looks back. So no initial noise describes it. Connect it to Remake Winner, and that to KSampler (Best of N Search) or SamplerCustomAdvanced (Best of N Search)."
            )

    def generate_noise(self, input_latent: dict) -> torch.Tensor:
        """[B, ...] as the latent: one recipe for each sample, or one whose seeds give every sample a noise of its own, as stock seeds do."""
        self.check()
        samples = plain_samples(input_latent)
        if len(self.recipes) not in (1, len(samples)):
            raise ValueError(
                f"This noise holds {len(self.recipes)} recipes, for a latent batch of {len(self.recipes)}; the latent has {len(samples)} samples."
            )
        one = self.recipes[0]
        recipes = (
            self.recipes
            if len(self.recipes) > 1
            else [Recipe(one.pieces, one.index + i) for i in range(len(samples))]
        )
        return torch.cat(
            [recipe.root.noise(_draw(samples[i : i + 1], recipe.index)) for i, recipe in enumerate(recipes)]
        )


def plain_samples(latent: dict) -> torch.Tensor:
    """The samples of a LATENT; ValueError for a pack of several latents."""
    if compat.is_nested(latent["samples"]):
        raise ValueError(
            "This latent is a pack of several latents (video with audio, say). NoiseSearch makes noise for plain image and video latents; give it one part."
        )
    return latent["samples"]


def index_of(latent: dict) -> int:
    """The place of a LATENT's first sample in its batch, which decides on its noise. ValueError for what is none."""
    places = latent.get("batch_index")
    try:
        if places is None or len(places) == 0:
            return 0
        place = operator.index(places[0])
    except (IndexError, KeyError, TypeError, ValueError, RuntimeError):
        place = -1
    if not 0 <= place <= MOST_INDEX:
        raise ValueError(
            f"The batch_index of a latent is a list of whole numbers from 0 to {MOST_INDEX}, one for each sample, not {excerpt(places)}."
        )
    return place


def _draw(sample: torch.Tensor, index: int) -> Draw:
    """Seed -> the noise that stock nodes give this sample of a batch."""
    return lambda seed: seeded_noise(sample, seed, index)


def recipe_of(noise: Any, latent: dict) -> NoiseRecipe:
    """The recipe of a NOISE on a one-sample latent. Raises ValueError for a noise that no seed describes."""
    samples = plain_samples(latent)[:1]
    if isinstance(noise, RecipeNoise):
        if len(noise.recipes) != 1:
            raise ValueError(
                f"This noise holds {len(noise.recipes)} recipes, one per sample of a batch. Take one of them with Noise from Recipe."
            )
        noise.check()
        return noise.recipes[0].root
    seed = getattr(noise, "seed", None)
    one = {"samples": torch.zeros_like(samples)}
    if not isinstance(seed, int) or not torch.equal(
        noise.generate_noise(one), comfy.sample.prepare_noise(one["samples"], seed)
    ):
        raise ValueError(
            f"The noise comes from {type(noise).__name__}, which is not a plain seeded noise, so candidates could not be reproduced. Connect RandomNoise (not DisableNoise), or a noise of NoiseSearch."
        )
    return NoiseRecipe(seed)


def seed_of(noise: Any, latent: dict) -> int:
    """The seed of a NOISE that starts a search."""
    recipe = recipe_of(noise, latent)
    if not recipe.plain:
        raise ValueError(
            "A search starts from a plain seed, but this noise was moved or mixed by an earlier search. Connect RandomNoise; to look around a found noise use Noise Candidates."
        )
    return recipe.seed
