"""One problem of the frontier: every contestant spends the same, and what it ends with is rendered at the user's steps and judged.

A contestant that samples with fewer steps than the user's pays for the final rendering of its winner out of its budget. One whose
candidates are at the user's steps already has it.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.samplers
import torch

from noisesearch.sampling.seeded import quiet_noise
from noisesearch.search.algorithms.base import BudgetTooSmall
from noisesearch.search.rollout import Recipe, Rollout
from noisesearch.session.noises import RecipeNoise
from noisesearch.session.run import Wishes, search_images
from noisesearch.verifiers.base import Batch, Verifier
from noisesearch.verifiers.ensemble import as_ensemble

REFERENCE = 16  # samples at the user's steps that the others are held against at less cost
THUMB = 16  # pixels a side of what is kept of a winner, for diversity


@dataclass
class Winner:
    """What a search ends with. noises: finalists, to be rendered at the user's steps; the best of them by the verifier wins. image: of
    one that is rendered already, with its score. nfe: all that it costs. judged: images that the verifier looked at for it."""

    nfe: int
    judged: int
    noises: list[torch.Tensor] = field(default_factory=list)
    image: torch.Tensor | None = None
    score: float = 0.0


@dataclass
class Pool:
    """The candidates of a random search at one number of steps."""

    steps: int
    noises: list[torch.Tensor]
    images: torch.Tensor
    scores: list[float]


class Bench:
    """One problem of a world, at one seed. budgets: in samples at the user's steps."""

    def __init__(self, world, problem, repeat: int, budgets: tuple[int, ...]):
        self.world, self.problem, self.budgets = world, problem, budgets
        self.seed = 10_000 * problem.place + 100_000_000 * repeat + 7
        self.guider, self.verifier = world.guider(problem), world.verifier(problem)
        self.sampler = comfy.samplers.sampler_object(world.sampler)
        self.one = world.steps  # NFE of a sample
        self.pools: dict[int, Pool] = {}
        self.rendered: dict[bytes, torch.Tensor] = {}

    def nfe(self, budget: int) -> int:
        return budget * self.one

    def score(self, images) -> list[float]:
        return self.verifier.score(Batch(images, self.problem.prompt)).tolist()

    def quality(self, images) -> list[float]:
        return self.world.quality(images, self.problem).tolist()

    def sample(self, noises: list[torch.Tensor], steps: int) -> torch.Tensor:
        """Images of these noises."""
        images = []
        for start in range(0, len(noises), self.world.rows):
            some = torch.cat(noises[start : start + self.world.rows])
            latent = self.world.latent.expand(len(some), *self.world.latent.shape[1:])
            latents = self.guider.sample(
                some, latent, self.sampler, self.world.sigmas(steps), disable_pbar=True, seed=self.seed
            )
            images.append(self.world.vae.decode(latents))
        return torch.cat(images)

    def noise(self, i: int) -> torch.Tensor:
        """Of candidate i of a random search."""
        return quiet_noise(self.world.latent, self.seed + i, 0)

    def pool(self, steps: int, count: int) -> Pool:
        """At least `count` candidates at so many steps."""
        have = self.pools.get(steps)
        if have is None or len(have.scores) < count:
            noises = [self.noise(i) for i in range(count)]
            images = self.sample(noises, steps)
            have = self.pools[steps] = Pool(steps, noises, images, self.score(images))
            if steps == self.one:
                self.rendered |= {key(noise): image for noise, image in zip(noises, images)}
        return have

    def afforded(self, steps: int, budget: int, finalists: int = 1) -> int:
        """Candidates at so many steps that a budget pays for, with the final rendering."""
        if steps == self.one:
            return budget
        return max((self.nfe(budget) - finalists * self.one) // steps, 0)

    def end(self, winners: list[Winner]) -> list[dict]:
        """The rows of winners, all rendered in as few batches as can be."""
        missing = {
            key(noise): noise
            for winner in winners
            for noise in winner.noises
            if key(noise) not in self.rendered
        }
        if missing:
            self.rendered |= dict(zip(missing, self.sample(list(missing.values()), self.one)))
        for winner in winners:
            if winner.noises:
                images = torch.stack([self.rendered[key(noise)] for noise in winner.noises])
                scores = self.score(images)
                best = max(range(len(scores)), key=scores.__getitem__)
                winner.image, winner.score = images[best], scores[best]
        images = torch.stack([winner.image for winner in winners])
        return [
            {
                "quality": round(q, 4),
                "score": round(w.score, 4),
                "nfe": w.nfe,
                "judged": w.judged,
                "thumb": thumb(w.image),
            }
            for q, w in zip(self.quality(images), winners)
        ]


def key(noise: torch.Tensor) -> bytes:
    return noise.contiguous().numpy().tobytes()


def thumb(image: torch.Tensor) -> str:
    """A small version of an image [H, W, 3] as text."""
    rows = image.movedim(-1, 0)[None].float()
    small = torch.nn.functional.interpolate(rows, size=(THUMB, THUMB), mode="area")[0]
    return base64.b64encode(small.mul(255).round().byte().numpy().tobytes()).decode()


def from_thumb(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8).double().div(255)


def best_of(scores: list[float], count: int) -> int:
    """The best of the first `count` candidates; ties go to the first."""
    return max(range(count), key=scores.__getitem__)


def top_of(scores: list[float], count: int, k: int) -> list[int]:
    return sorted(range(count), key=lambda i: -scores[i])[:k]


@dataclass(frozen=True)
class Contestant:
    """label: as the tables say it. run: gives a Winner for each budget, None where it does not fit. control: never left out. main: run
    with every seed."""

    label: str
    run: Callable[[Bench], dict[int, Winner | None]]
    control: bool = False
    main: bool = False


def random_search(steps: int | None = None, finalists: int = 1) -> Callable[[Bench], dict]:
    """Random search with so many steps a candidate (None = the user's) and a final rendering of the best few."""

    def run(bench):
        own = steps or bench.one
        budgets = sorted({*bench.budgets, REFERENCE}) if own == bench.one else bench.budgets
        pool = bench.pool(own, max(*(bench.afforded(own, budget, finalists) for budget in budgets), 1))
        found = {}
        for budget in budgets:
            count = bench.afforded(own, budget, finalists)
            if count < finalists:
                found[budget] = None
                continue
            cost = count * own + (0 if own == bench.one else finalists * bench.one)
            noises = [pool.noises[i] for i in top_of(pool.scores, count, finalists)]
            found[budget] = Winner(cost, count + (0 if own == bench.one else finalists), noises)
        return found

    return run


def more_steps(bench: Bench) -> dict[int, Winner]:
    """One sample with all the steps that the budget pays for: what random search is held against in the paper's figure 1."""
    found = {}
    for budget in (1, 2, 4):
        image = bench.sample([bench.noise(0)], budget * bench.one)[0]
        found[budget] = Winner(bench.nfe(budget), 1, [], image, bench.score(image[None])[0])
    return found


class Remembering(Verifier):
    """Keeps all images that a search looks at, in order; what it says of them chooses nothing."""

    name = "onlooker"

    def __init__(self):
        self.images = []

    def score(self, batch):
        self.images += list(batch.images.cpu())
        return torch.zeros(len(batch.images))


class Dice(Verifier):
    """Says anything."""

    name = "dice"

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def score(self, batch):
        return torch.rand(len(batch.images), generator=self.generator)


def by_the_pack(
    settings: Any,
    steps: int | None = None,
    anytime: bool = False,
    sampler: str | None = None,
    blind: bool = False,
    **wishes,
) -> Callable[[Bench], dict]:
    """A search of the pack, as the nodes run it. steps: of a candidate (None = the user's; fewer = the winner is rendered anew).
    anytime: one run serves all budgets, since a shorter one is its beginning. blind: by a judge that throws dice."""

    def run(bench):
        budgets = bench.budgets if not anytime else (max(bench.budgets),)
        found: dict[int, Winner | None] = {}
        for budget in budgets:
            own = steps or bench.one
            rendering = 0 if own == bench.one else bench.one
            onlooker = Remembering()
            verifier = Dice(bench.seed) if blind else bench.verifier
            try:
                result = search_images(
                    bench.guider,
                    comfy.samplers.sampler_object(sampler) if sampler else bench.sampler,
                    bench.world.sigmas(own),
                    {"samples": bench.world.latent},
                    bench.seed,
                    settings,
                    replace(as_ensemble(verifier), held_out=onlooker),
                    bench.world.vae,
                    bench.problem.prompt,
                    Wishes(
                        keep_top=1,
                        budget_nfe=bench.nfe(budget) - rendering,
                        batch_size=bench.world.rows,
                        exact=False,
                        journal=False,
                        **wishes,
                    ),
                )
            except BudgetTooSmall:
                found[budget] = None
                continue
            one = result.found[0]
            if not anytime:
                judged = sum(bool(outcome.scores) for outcome in one.result.outcomes.values())
                if rendering:
                    noise = noise_of(one.recipe, bench)
                    found[budget] = Winner(one.search_nfe + rendering, judged + 1, [noise])
                else:
                    nfe = one.search_nfe + one.final_nfe
                    found[budget] = Winner(nfe, judged, [], one.images[0][0].cpu(), one.leading)
                continue
            outcomes = [outcome for outcome in one.result.outcomes.values() if outcome.scores]
            for shorter in bench.budgets:
                spent, judged, best = 0, 0, None
                for place, outcome in enumerate(outcomes):
                    if spent + outcome.nfe > bench.nfe(shorter) - rendering:
                        break
                    spent, judged = spent + outcome.nfe, judged + 1
                    if best is None or outcome.scores[0] > outcomes[best].scores[0]:
                        best = place
                if best is None:
                    found[shorter] = None
                elif rendering:
                    recipe = Recipe((outcomes[best].rollout,))
                    found[shorter] = Winner(spent + rendering, judged + 1, [noise_of(recipe, bench)])
                else:
                    image, score = onlooker.images[best], outcomes[best].scores[0]
                    found[shorter] = Winner(spent, judged, [], image, score)
        return found

    return run


def noise_of(recipe: Recipe, bench: Bench) -> torch.Tensor:
    """The noise that a sample began with, which is all there is to it where only whole steps were cut apart."""
    if any(piece.noise for piece in recipe.pieces[1:]):
        raise ValueError("This search puts noise back in, so its winner cannot be rendered with other steps.")
    whole = Recipe((Rollout(recipe.root),), recipe.index)
    return RecipeNoise([whole]).generate_noise({"samples": bench.world.latent})


def race(bench: Bench, contestants: list[Contestant]) -> dict[str, dict]:
    """{label: row} of one problem. A row has what it ended with at each budget, and CPU seconds of the search itself."""
    found, seconds = {}, {}
    for contestant in contestants:
        began = time.process_time()
        found[contestant.label] = contestant.run(bench)
        seconds[contestant.label] = time.process_time() - began
    flat = [
        (label, budget, winner)
        for label, of in found.items()
        for budget, winner in of.items()
        if winner is not None
    ]
    ended = bench.end([winner for *_, winner in flat])
    rows = {label: {"seconds": round(seconds[label], 4), "at": {}} for label in found}
    for (label, budget, _), row in zip(flat, ended):
        rows[label]["at"][str(budget)] = row
    return rows


def pools_of(bench: Bench) -> dict:
    """What the placebos, the figures and the correlations are made of: all scores and qualities of the random candidates."""
    return {
        str(steps): {
            "scores": [round(score, 4) for score in pool.scores],
            "quality": [round(q, 3) for q in bench.quality(pool.images)],
        }
        for steps, pool in bench.pools.items()
    }
