"""What a search algorithm is: settings that begin a generator which asks for rollouts and is told their outcomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ...untrusted import Short
from ..noise import NoiseRecipe
from ..rollout import BY_VAE, EXTRA, Outcome, Rollout
from ..seeds import MASK

Asking = Generator[list[Rollout], list[Outcome], None]

FINISH = Rollout(parent=0)  # for asking what it costs to complete a sample


class BudgetTooSmall(ValueError):
    """The budget does not pay for one complete result."""


class Best(Protocol):
    """How the user's verifiers compare outcomes; what the driver hands to an algorithm.

    `Rollout`, `NoiseRecipe` and `mix` (a seed out of several numbers) hang on it too, for searches of other packs, which cannot import
    ours. Finished outcomes are compared within all finished ones of this image so far, unfinished ones (previews) within those of their
    round. Both methods see the same pool and the user's method and weights.
    """

    def __call__(self, outcomes: Sequence[Outcome], k: int) -> list[Outcome]:
        """The best k of them, best first; ties go to the lowest id, NaN comes last."""
        ...

    def utility(self, outcomes: Sequence[Outcome]) -> list[float]:
        """One number each, higher is better; -inf for what could not be judged. With one verifier it is the score."""
        ...


@dataclass(frozen=True)
class Terms:
    """What a search has to work with, for those that plan ahead.

    budget: NFE that the search itself may spend. cost: NFE of a rollout, given its parent. top: flow time at which the schedule begins.
    own_steps: how many of the schedule's own steps lie between two flow times (the higher one first). levels: the schedule's own
    flow times, falling, the last one 0; () for a model whose noise levels are unknown. A sample cut at one of them goes on as if it
    had not been cut; any other level costs a step. stochastic: whether the sampler draws noise on the way, None = not known.
    """

    budget: int
    cost: Callable[[Rollout, Rollout | None], int]
    top: float
    own_steps: Callable[[float, float], int]
    levels: tuple[float, ...] = ()
    stochastic: bool | None = None

    Rollout, NoiseRecipe = Rollout, NoiseRecipe  # for searches of other packs, which cannot import ours


@dataclass(frozen=True)
class Ground:
    """Where a search is to run, for those that choose among others.

    budget: NFE in all. whole: NFE of a sample with all of the user's steps, of which there are `steps`. why: what decided whether
    drafts would be searched. terms: of samples with all steps, where a search of its own choice may stop
    them on the way and put noise back in; None where not (the user wished for drafts, say, or the sampler draws noise on the way).
    """

    budget: int
    whole: int
    steps: int
    why: str
    terms: Terms | None = None


class Search(Short):
    """Settings of one algorithm, as they flow over a NOISE_SEARCH socket: a frozen dataclass with a name.

    `begin` is all that must be written, or `plan`, which gives the search to begin with. What follows is all that the driver, the session and the report may ask besides.
    """

    name: str

    cuts: ClassVar[bool] = False
    """It stops samples on the way, so the schedule must end in a clean image."""
    reinjects: ClassVar[bool] = False
    """It puts noise back in, so no initial noise describes its winner."""
    needs_verifier: ClassVar[bool] = True
    """It compares outcomes. A replay does not."""
    independent: ClassVar[bool] = False
    """None of its candidates depends on what others scored, so their scores foretell those of more (`search/forecast.py`)."""
    drafts: ClassVar[bool] = False
    """It wants drafts where they pay, if the user did not say (`draft_steps`)."""
    varies: bool = False
    """Some of its noises also vary the conditioning (`NoiseRecipe.vary`), so there must be a prompt to vary."""
    preview: str = EXTRA
    """How an unfinished sample is shown to verifiers: one more evaluation at its own level, or FREE (the solver's last prediction)."""
    decoder: str = BY_VAE
    """What decodes unfinished samples for the verifiers: the VAE, or one of ComfyUI's approximate decoders (`rollout.DECODERS`)."""
    keeps: int = 0
    """How many of the best finished samples it may still build on (as parents); their latents stay in memory."""

    def begin(self, seed: int, best: Best) -> Asking:
        """A new run. It yields rollouts and is sent their outcomes; deterministic given the seed and what it is told.

        Searches that must be planned first have `plan` instead.
        """
        raise TypeError(
            f"{self.name} is planned for a budget and a schedule first: begin what plan(terms) gives."
        )

    def settled(self, ground: Ground) -> tuple[Search, str]:
        """(the search to plan, why it was taken), of one that chooses among others."""
        return self, ""

    def plan(self, terms: Terms) -> Search:
        """The settings to begin with under these terms. Raises BudgetTooSmall when one pass does not fit."""
        return self

    def announcement(self, terms: Terms) -> str:
        """What the user should know of a planned search before it runs."""
        return ""

    def whole_price(self, terms: Terms) -> int | None:
        """NFE of everything it will ask for, where it runs to its end whatever was wished (a replay); None = as much as it is given."""
        return None

    def lineage_price(self, terms: Terms) -> int:
        """NFE of sampling one winner again, alone and without looking at it on the way."""
        return terms.cost(fresh(0), None)

    def of_sample(self, index: int, count: int, place: int) -> tuple[Search, int]:
        """(the settings for sample `index` of a latent batch of `count`, the place of its noise in a seeded batch).

        place: what the latent itself says. Raises ValueError where the batch does not fit.
        """
        return self, place

    def describe(self) -> dict[str, Any]:
        """The settings as plain values, for the report."""
        if not dataclasses.is_dataclass(self):
            return {}
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def notes(self, wished: Search) -> list[str]:
        """What the user should know of this planned search when reading its result. wished: the settings before planning."""
        return []


OURS = ("plan", "of_sample", "settled", "drafts")  # members that are not taken from others' searches


class Foreign(Search):
    """A search of another pack, which cannot import ours: any object with a `name` and `begin(seed, best)` or `plan(terms)`.

    What it has of Search's members is taken from it but for OURS, the rest has Search's defaults.
    """

    def __init__(self, inner: Any) -> None:
        self.inner, self.name = inner, inner.name
        for member in vars(Search):
            if not member.startswith("_") and member not in OURS and hasattr(inner, member):
                setattr(self, member, getattr(inner, member))

    def plan(self, terms: Terms) -> Search:
        return as_search(self.inner.plan(terms)) if hasattr(self.inner, "plan") else self

    def describe(self) -> dict[str, Any]:
        if not dataclasses.is_dataclass(self.inner):
            return {}
        return {field.name: getattr(self.inner, field.name) for field in dataclasses.fields(self.inner)}


def as_search(settings: Any) -> Search:
    """Whatever lies on a search socket, as a Search. Raises ValueError for what is none."""
    if isinstance(settings, Search):
        return settings
    begins = any(callable(getattr(settings, name, None)) for name in ("begin", "plan"))
    if not isinstance(getattr(settings, "name", None), str) or not begins:
        raise ValueError(
            f"A search is an object with a name and a method begin(seed, best) or plan(terms), which this {type(settings).__name__} is not. "
            "See docs/own_search.md of NoiseSearch."
        )
    return Foreign(settings)


def fresh(seed: int) -> Rollout:
    """A complete sample of a new noise."""
    return Rollout(NoiseRecipe(seed & MASK))


def together(searches: Sequence[Asking]) -> Asking:
    """Several runs as one that asks for all they ask for, each told of its own: they share batches and nothing else. It ends with the last."""
    answers: dict[int, list[Outcome]] = {}
    running = list(range(len(searches)))
    with ExitStack() as closing_all:
        tell = [closing_all.enter_context(closing(search)).send for search in searches]
        while True:
            asked = {}
            for i in running:
                with suppress(StopIteration):
                    asked[i] = tell[i](answers[i]) if i in answers else next(searches[i])
            running = list(asked)
            if not running:
                return
            told = yield [rollout for i in running for rollout in asked[i]]
            for i in running:
                answers[i], told = told[: len(asked[i])], told[len(asked[i]) :]


def prices(stages: Iterable[tuple[int, Rollout]], terms: Terms) -> tuple[int, int]:
    """(NFE of all stages, NFE that must be there to complete one sample after any of them).

    stages: how often each rollout is run, one stage after the other, each from outcomes of the one before.
    """
    spent, need, before = 0, 0, None
    for count, rollout in stages:
        spent += count * terms.cost(rollout, before)
        need = max(need, spent + (0 if rollout.finished else terms.cost(FINISH, rollout)))
        before = rollout
    return spent, need
