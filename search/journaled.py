"""An evaluator that pays for nothing twice: what a journal knows is answered from it, the rest is evaluated and written down first."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import torch

from .driver import Evaluator
from .journal import Context, Journal, JournalFault, Recorded, Row
from .noise import NoiseRecipe
from .rollout import Outcome, Rollout

Asked = Sequence[tuple[int, Rollout]]

FEW = 16  # latents in memory at once while another judge looks at them
VALUES = 256  # of a prediction that is recorded
HALF, FULL = (
    0.05,
    1e-3,
)  # relative error of a prediction up to which it is the same: batches and kernels move the last digits
OTHER_MODEL = (
    "The search journal knows this search from another run of ComfyUI, but the model now predicts something else: "
    "what was found then is left aside, and everything is searched anew."
)


@dataclass(frozen=True)
class Point:
    """One evaluation of the model. x: what it was given at the noise level `sigma`. x0: what it predicted, or some values of that."""

    sigma: float
    x: torch.Tensor
    x0: torch.Tensor


class Resumable(Evaluator, Protocol):
    """What the journal needs of an evaluator besides."""

    @property
    def judges_latents(self) -> bool:
        """Whether a finished outcome's latent is all that a judge needs."""
        ...

    @property
    def exact(self) -> bool:
        """Whether the model computes in full precision."""
        ...

    def know(self, id: int, rollout: Rollout) -> None:
        """An outcome that another run came to: others may start from it, once it is sampled again or put here."""
        ...

    def has(self, id: int) -> bool:
        """Whether the latent or the state of an outcome is here."""
        ...

    def put(self, id: int, tensors: Mapping[str, torch.Tensor]) -> None:
        """The latents of a finished outcome, as `tensors` gave them."""
        ...

    def tensors(self, id: int) -> dict[str, torch.Tensor]: ...

    def resample(self, asked: Asked, enough: Callable[[], bool]) -> int:
        """Sample these, which start from what is here, and judge nothing. Returns the NFE paid. enough: True gives up what is not there yet."""
        ...

    def judged(self, paid: Sequence[tuple[int, int]]) -> list[Outcome]:
        """The outcomes of (id, NFE paid) pairs whose latents are here."""
        ...

    def unjudged(self) -> list[tuple[int, int]]:
        """(id, NFE paid) of what the running wave has sampled and nobody has judged yet."""
        ...

    def record(self) -> None:
        """Keep some evaluations of the first sample that begins with a noise."""
        ...

    def recorded(self) -> tuple[Rollout, list[Point]] | None:
        """That sample, and its evaluations."""
        ...

    def answers(self, rollout: Rollout, points: Sequence[Point]) -> list[torch.Tensor]:
        """What the model predicts now where a sample with this noise was evaluated then. 1 NFE for each point."""
        ...


class Memory(Protocol):
    """A judge's side of it. key: what tells its scores from another's."""

    @property
    def key(self) -> bytes: ...

    def held_out(self, id: int) -> float | None: ...

    def sure(self, id: int) -> bool:
        """Whether it judged this outcome without a fault of its own."""
        ...

    def recall(self, id: int, scores: tuple[float, ...], held_out: float | None) -> None:
        """It judged this outcome before."""
        ...


class Account(Protocol):
    """journal_*: what the journal answered, and what that had cost. recomputed_nfe: of samples that were needed again and gone."""

    journal_candidates: int
    journal_nfe: int
    recomputed_nfe: int


class Journaled:
    """The driver's Evaluator around another one.

    key: what tells this model, schedule and latent from others. known: the mark of the context that is known to be of this very model.
    on_known: called with the mark once that is found out. notes: what the user should know.
    """

    def __init__(
        self,
        inner: Resumable,
        journal: Journal,
        key: str,
        memory: Memory,
        account: Account,
        known: str = "",
        on_known: Callable[[str], None] = lambda mark: None,
    ) -> None:
        self.inner, self.key, self.memory, self.account = inner, key, memory, account
        self.known, self.on_known = known, on_known
        self.notes: list[str] = []
        self._journal: Journal | None = journal  # None once it has failed
        self._context: int | None = None
        self._looked = False
        self._rollouts: dict[int, Rollout] = {}
        self._lineages: dict[int, bytes] = {}
        inner.record()

    @property
    def begun(self) -> bool:
        """Whether the journal knows samples of this context already."""
        try:
            return self._journal is not None and self._journal.context(self.key) is not None
        except JournalFault as fault:
            self._off(fault)
            return False

    # -- the driver's side ------------------------------------------------------------------------------------------

    @property
    def top(self) -> float:
        return self.inner.top

    @property
    def levels(self) -> tuple[float, ...]:
        return self.inner.levels

    @property
    def held(self) -> int:
        return self.inner.held

    @property
    def stochastic(self) -> bool | None:
        return self.inner.stochastic

    def cost(self, rollout: Rollout, parent: Rollout | None) -> int:
        return self.inner.cost(rollout, parent)

    def own_steps(self, start: float, stop: float) -> int:
        return self.inner.own_steps(start, stop)

    def evaluate(
        self, asked: Asked, enough: Callable[[], bool] = lambda: False
    ) -> Generator[list[Outcome], None, None]:
        for id, rollout in asked:
            self._rollouts[id] = rollout
            before = b"" if rollout.parent is None else self._lineages[rollout.parent]
            self._lineages[id] = lineage_key(before, rollout)
        found = self._find([id for id, _ in asked])

        def way(pair: tuple[int, Rollout]) -> Callable[..., Iterator[list[Outcome]]]:
            id, rollout = pair
            if id not in found:
                return self._run
            if found[id].scores is not None or not rollout.score:
                return self._recall
            return self._judge if found[id].kept and self.inner.judges_latents else self._run

        for answer, some in groupby(asked, way):
            yield from answer(list(some), found, enough)

    def keep(self, best: Sequence[int]) -> None:
        for id in best:
            if not self.inner.has(id):
                self._restore(id)
        self.inner.keep(best)

    # -- afterwards --------------------------------------------------------------------------------------------------

    def bring(self, ids: Collection[int], enough: Callable[[], bool] = lambda: False) -> None:
        """See that the latents and states of these outcomes are here, sampled again where nothing else helps, until it is enough."""
        levels: list[list[int]] = []
        gone = [id for id in sorted(set(ids)) if not self._here(id)]
        while gone:
            levels.append(gone)
            parents = {self._rollouts[id].parent for id in gone}
            gone = [id for id in sorted(p for p in parents if p is not None) if not self._here(id)]
        for level in reversed(levels):
            again = [(id, self._rollouts[id]) for id in level if not self.inner.has(id)]
            if again and not enough():
                self.account.recomputed_nfe += self.inner.resample(again, enough)

    # -- three ways to answer --------------------------------------------------------------------------------------------

    def _recall(self, asked: Asked, found: Mapping[int, Recorded], enough: object) -> Iterator[list[Outcome]]:
        """Scores that are known."""
        wave = []
        for id, rollout in asked:
            row = found[id]
            self.inner.know(id, rollout)
            self._count(row)
            if rollout.score and row.scores is not None:
                self.memory.recall(id, row.scores, row.held_out)
            wave.append(Outcome(id, rollout, (row.scores or ()) if rollout.score else (), row.nfe))
        yield wave

    def _judge(
        self, asked: Asked, found: Mapping[int, Recorded], enough: Callable[[], bool]
    ) -> Iterator[list[Outcome]]:
        """Latents that are known, but not what this judge says of them."""
        for first in range(0, len(asked), FEW):
            few = asked[first : first + FEW]
            for id, rollout in few:
                self.inner.know(id, rollout)
                self._restore(id)
            for here, group in groupby(few, lambda pair: self.inner.has(pair[0])):
                some = list(group)
                if not here:  # gone since
                    yield from self._run(some, found, enough)
                    continue
                wave = self.inner.judged([(id, found[id].nfe) for id, _ in some])
                for id, _ in some:
                    self._count(found[id])
                self._write([self._row(outcome, found[outcome.id].seconds) for outcome in wave])
                yield wave

    def _run(
        self, asked: Asked, found: Mapping[int, Recorded], enough: Callable[[], bool]
    ) -> Iterator[list[Outcome]]:
        """What must be paid for."""
        late = enough()  # a search that has nothing yet is given one sample all the same
        parents = [rollout.parent for _, rollout in asked if rollout.parent is not None]
        self.bring(parents, (lambda: False) if late else enough)
        if not late and enough():
            return
        began = time.monotonic()
        with closing(self.inner.evaluate(asked, enough)) as waves:
            while True:
                try:
                    wave = next(waves, None)
                except BaseException:
                    self._save_unjudged()
                    raise
                if wave is None:
                    return
                seconds = (time.monotonic() - began) / max(len(wave), 1)
                self._write([self._row(outcome, seconds) for outcome in wave])
                yield wave
                began = time.monotonic()

    def _save_unjudged(self) -> None:
        """A judge failed, or the user cancelled: whole samples need not be sampled again."""
        whole = [(id, nfe) for id, nfe in self.inner.unjudged() if self._rollouts[id].finished]
        self._write([Row(self._lineages[id], nfe, 0.0, tensors=self.inner.tensors(id)) for id, nfe in whole])

    def _count(self, row: Recorded) -> None:
        self.account.journal_candidates += 1
        self.account.journal_nfe += row.nfe

    # -- latents ------------------------------------------------------------------------------------------------------

    def _here(self, id: int) -> bool:
        return self.inner.has(id) or self._restore(id)

    def _restore(self, id: int) -> bool:
        """Take a finished outcome's latents from the journal."""
        if self._journal is None or self._context is None or not self._rollouts[id].finished:
            return False
        try:
            tensors = self._journal.tensors(self._context, self._lineages[id])
        except JournalFault as fault:
            self._off(fault)
            return False
        if tensors:
            self.inner.know(id, self._rollouts[id])
            self.inner.put(id, tensors)
        return bool(tensors)

    # -- the journal -------------------------------------------------------------------------------------------------

    def _find(self, ids: Sequence[int]) -> dict[int, Recorded]:
        if self._journal is None:
            return {}
        try:
            if not self._looked:
                self._look(self._journal)
            if self._context is None:
                return {}
            lineages = [self._lineages[id] for id in ids]
            found = self._journal.find(self._context, lineages, self.memory.key)
        except JournalFault as fault:
            self._off(fault)
            return {}
        return {id: found[lineage] for id, lineage in zip(ids, lineages) if lineage in found}

    def _look(self, journal: Journal) -> None:
        """Take up the context that is there, once it is sure that its rows are of this very model."""
        self._looked = True
        context = journal.context(self.key)
        self.notes += journal.notes
        journal.notes = []
        if context is None:
            return
        if self.known != context.mark and not self._same_model(context):
            journal.set_aside(context.id)
            self.notes.append(OTHER_MODEL)
            return
        self._take_up(context)

    def _take_up(self, context: Context) -> None:
        self._context, self.known = context.id, context.mark
        self.on_known(context.mark)

    def _same_model(self, context: Context) -> bool:
        first = _first_of(context)
        if first is None:
            return False
        rollout, points = first
        answers = self.inner.answers(rollout, points)
        near = FULL if self.inner.exact else HALF
        return all(_distance(some_values(new), point.x0) <= near for new, point in zip(answers, points))

    def _row(self, outcome: Outcome, seconds: float) -> Row:
        id = outcome.id
        sure = bool(outcome.scores) and self.memory.sure(id)
        tensors = self.inner.tensors(id) if outcome.finished and self.inner.has(id) else {}
        held_out = self.memory.held_out(id) if sure else None
        return Row(
            self._lineages[id], outcome.nfe, seconds, outcome.scores if sure else None, held_out, tensors
        )

    def _write(self, rows: Sequence[Row]) -> None:
        if self._journal is None or not rows:
            return
        try:
            while self._context is None or not self._journal.write(self._context, self.memory.key, rows):
                self._begin(self._journal)  # the first rows, or the first since it was cleared
        except JournalFault as fault:
            self._off(fault)

    def _begin(self, journal: Journal) -> None:
        self._context = None
        root, points = self.inner.recorded() or (None, [])
        facts = json.dumps({"piece": root and piece_of(root), "sigmas": [point.sigma for point in points]})
        tensors = {f"x {i}": point.x for i, point in enumerate(points)}
        tensors |= {f"x0 {i}": some_values(point.x0) for i, point in enumerate(points)}
        context = journal.begin(self.key, facts, tensors)
        if context is None:  # another server was quicker
            self._look(journal)
        else:
            self._take_up(context)

    def _off(self, fault: JournalFault) -> None:
        self._journal = None
        self.notes.append(str(fault))


def piece_of(rollout: Rollout) -> dict[str, Any]:
    """A rollout without the ids of its run."""
    piece: dict[str, Any] = {"noise": rollout.noise.to_dict() if rollout.noise else None}
    piece |= {name: getattr(rollout, name) for name in ("start", "stop", "steps")}
    # a whole sample is the same, scored or not; a preview of an unfinished one is paid for
    return piece if rollout.finished else {**piece, "score": rollout.score}


def lineage_key(before: bytes, rollout: Rollout) -> bytes:
    """Of a rollout and all that came before it. before: its parent's key."""
    text = json.dumps(piece_of(rollout), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(before + text.encode()).digest()


def some_values(x: torch.Tensor) -> torch.Tensor:
    """A few of its values, evenly spread: enough to tell one prediction from another."""
    flat = x.detach().flatten()
    places = torch.linspace(0, len(flat) - 1, min(VALUES, len(flat))).long()
    return flat[places.to(flat.device)].float().cpu()


def _first_of(context: Context) -> tuple[Rollout, list[Point]] | None:
    """What was recorded of the first sample of a context; None where that is damaged, or gone."""
    try:
        facts = json.loads(context.facts)
        piece = facts["piece"]
        rollout = Rollout(
            NoiseRecipe.from_dict(piece["noise"]),
            start=piece["start"],
            stop=piece["stop"],
            steps=piece["steps"],
        )
        tensors = context.tensors
        points = [Point(s, tensors[f"x {i}"], tensors[f"x0 {i}"]) for i, s in enumerate(facts["sigmas"])]
    except (KeyError, TypeError, ValueError):
        return None
    return (rollout, points) if points else None


def _distance(new: torch.Tensor, old: torch.Tensor) -> float:
    """Relative; infinite where they cannot be compared."""
    if new.shape != old.shape or not bool(new.isfinite().all()):
        return float("inf")
    return float((new - old).norm() / old.norm().clamp(min=1e-12))
