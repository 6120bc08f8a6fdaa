"""May candidates run in one batch? The evaluator asks before each one.

Yes, at no cost, when nothing of others is attached (`proof.py`). No, at no cost, when what is attached may leave work out by what it
sees, or draws random numbers: candidates then run row by row. Anything else is tried, once per model: a first candidate runs alone and
is recorded; the next batch carries it again, as a ghost whose predictions are compared (`witness.py`). When they differ the batch is
given up and the search goes on one rung lower: CFG functions row by row around a batched network, and below that everything row by row.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.model_management as mm
import torch

from .. import compat
from ..untrusted import excerpt
from .guidance import has_guidance, row_by_row
from .jobs import Job
from .ledger import Ledger
from .proof import suspects
from .setup import Setup
from .witness import GHOST, Coupled, Floor, Ghost, Measured, Pair, Recording, Witness

TOGETHER, GUIDANCE, ALONE = range(3)
RUNGS = ("together", "guidance row by row", "row by row")
TRIED = 3  # rows of the batch that finds out, the ghost between two others
Attempt = Callable[[list[Job], "Witness | None"], None]  # samples the rows of one batch, watched by a witness
WINNER = (
    0.05  # what a winner may differ by when it is rendered alone, in its spread: more than arithmetic makes
)


@dataclass
class Verdict:
    """What is known of one model with one guider and solver. cleared: for each situation the noise levels (from, to) that were tried,
    and the most rows that holds for (0: any). A rung, once lowered, holds in all situations."""

    rung: int = TOGETHER
    why: str = ""
    cleared: dict[tuple, list[tuple[float, float, int]]] = field(default_factory=dict)
    floors: dict[tuple, Floor] = field(default_factory=dict)


_VERDICTS: weakref.WeakKeyDictionary = (
    weakref.WeakKeyDictionary()
)  # the user's model patcher -> {...: Verdict}


class TooDear(Exception):
    """There are no evaluations left to find out with."""


class Coupling:
    """How the candidates of one evaluator share batches. `rung` and `why` say so in words."""

    def __init__(self, setup: Setup, ledger: Ledger) -> None:
        guider, solver = setup.guider, setup.solver
        self.ledger, self.levels = ledger, setup.schedule.ends
        self.suspects = suspects(guider)
        key = (type(guider), solver.name, tuple(self.suspects))
        self.verdict: Verdict = _VERDICTS.setdefault(guider.model_patcher, {}).setdefault(key, Verdict())
        self.situation = (tuple(setup.sample.latent.shape[1:]), _numbers(guider))
        self.has_guidance = has_guidance(guider.model_options)
        self.coarse = _is_coarse(guider.model_patcher)
        self.recording: Recording | None = None
        self.rows = 0  # most that fit, as far as is known
        self.trying = False  # whether the next batch is to find out
        self.spent = 0  # NFE of checks
        self.allowance: int | None = None  # of NFE for checks; None: no limit
        self.returned = True  # whether what is left of it goes back to the search
        self.declined = (
            "" if solver.batches else f"the sampler {excerpt(solver.name)} may draw random numbers of its own"
        )
        if any(suspect.skips for suspect in self.suspects):
            self._settle(
                ALONE, "may leave work out by what it sees, which differs from batch to batch", skips=True
            )

    # -- for the report and the budget ------------------------------------------------------------------------------------

    @property
    def rung(self) -> str:
        return RUNGS[ALONE if self.is_alone else self.verdict.rung]

    @property
    def why(self) -> str:
        if self.declined or self.verdict.why:
            return self.declined or self.verdict.why
        return (
            self._of_suspects("not tried")
            if self.suspects
            else "nothing is attached that could change other candidates"
        )

    @property
    def lowered(self) -> bool:
        """Whether what is attached to the model keeps candidates from sharing whole batches."""
        return bool(self.suspects) and self.verdict.rung != TOGETHER

    @property
    def is_alone(self) -> bool:
        return bool(self.declined) or self.verdict.rung == ALONE

    def wanted(self, whole: int) -> int:
        """NFE to hold back for finding out, where a sample takes `whole`: 0 when there is nothing to find out."""
        if self.is_alone or self._is_cleared(self.levels, TRIED):
            return 0
        return (TRIED + self.has_guidance) * whole + 4 * self.coarse

    def allow(self, nfe: int, returned: bool = True) -> None:
        """Checks may take this much and no more; where one would take more, candidates run row by row. returned: whether what is left
        goes back to the search."""
        self.allowance, self.returned = nfe, returned

    @property
    def held(self) -> int:
        """NFE that checks have taken, or may still take."""
        settled = self.is_alone or self._is_cleared(self.levels, self.rows or TRIED)
        if self.allowance is None or (settled and self.returned):
            return self.spent
        return max(self.allowance, self.spent)

    # -- for the evaluator ------------------------------------------------------------------------------------------------

    def share(self, jobs: list[Job], rows: int) -> int:
        """How many of these jobs of one kind to run next, where `rows` fit."""
        self.rows, most = rows, min(rows, len(jobs))
        self.trying = False
        if most < 2 or self.is_alone:
            return 1
        if self._is_cleared(_levels(jobs[0]), most):
            return most
        self.trying = self._is_recorded(jobs[0])
        return min(TRIED, rows) - 1 if self.trying else 1

    def guider(self, guider: Any) -> Any:
        """The guider to sample with, on this rung."""
        return row_by_row(guider) if self.verdict.rung == GUIDANCE else guider

    def run(self, jobs: list[Job], attempt: Attempt) -> list[int]:
        """NFE of the jobs that were run: of all, in one batch, where they may be; else of the first, alone.

        What is given up on the way is booked as check. An error that a batch makes and a lone run does not make ends no search.
        """
        before, error = replace(self.verdict), None
        while (len(jobs) > 1 or self.trying) and not self.is_alone:
            try:
                return [self._together(jobs, attempt)] * len(jobs)
            except Coupled as found:
                self._descend(str(found))
            except TooDear:
                self.declined = self._of_suspects(
                    "the budget leaves too little to find out whether candidates change each other"
                )
            except Exception as raised:
                if isinstance(raised, mm.InterruptProcessingException):
                    raise
                if compat.is_out_of_memory(raised):
                    self.trying = False
                    if len(jobs) > 1:
                        raise
                    break  # the ghost was too much
                error = excerpt(f"{type(raised).__name__}: {raised}")
                self._descend(f"an error that only a batch makes, {error}")
        try:
            return [self._alone(jobs[0], attempt)]
        except Exception:
            if error:  # not the batch's fault
                self.verdict.rung, self.verdict.why = before.rung, before.why
            raise

    def agree(self, searched: torch.Tensor, alone: torch.Tensor) -> str:
        """What to say of a winner's latent that came out otherwise when it was rendered once more alone; "" when it did not.

        A look at no cost at what one check cannot promise. Later searches with this model then run row by row.
        """
        off = float((alone.float() - searched.float()).std() / alone.float().std().clamp(min=1e-12))
        if off <= WINNER or self.is_alone:
            return ""
        self._settle(
            ALONE, f"a winner came out otherwise when it was rendered alone, by {off:.0%} of its spread"
        )
        return (
            f"Candidates that were sampled together changed each other: rendered alone, the winner differs by {off:.0%} of its spread. "
            "The image is the one rendered alone; later searches with this model run row by row."
        )

    # -- one batch --------------------------------------------------------------------------------------------------------

    def _alone(self, job: Job, attempt: Attempt) -> int:
        unknown = self.rows > 1 and not self.is_alone and not self._is_cleared(_levels(job), self.rows)
        recording = Recording(job) if unknown else None
        nfe = self._booked([job], recording, attempt)
        if recording is not None and recording.drew:
            self._settle(ALONE, "random numbers are drawn for a prediction, which differ from batch to batch")
        elif recording is not None:
            self.recording = recording if recording.calls else None
        return nfe

    def _together(self, jobs: list[Job], attempt: Attempt) -> int:
        known = self.recording if self.trying else None
        if known is None:
            return self._booked(jobs, None, attempt)
        ghost = replace(jobs[0], id=GHOST, root=known.job.root, seed=known.job.seed)
        floor = self.verdict.floors.get(self.situation, Floor())
        measures = self.coarse and self.situation not in self.verdict.floors
        if not self._affords((len(jobs) + 1) * len(known.calls) + 4 * measures):
            raise TooDear
        if measures:
            pair = Pair(known)
            try:
                self._booked([ghost, ghost], pair, attempt)
            except Measured:
                self.verdict.floors[self.situation] = floor = pair.floor
        middle = (len(jobs) + 1) // 2
        nfe = self._booked([*jobs[:middle], ghost, *jobs[middle:]], Ghost(known, middle, floor), attempt)
        rows = 0 if len(jobs) + 1 >= TRIED else len(jobs) + 1
        self.verdict.cleared.setdefault(self.situation, []).append((*_levels(jobs[0]), rows))
        self.recording = None
        self.verdict.why = self.verdict.why or self._of_suspects(
            "tried, and candidates change nothing in each other"
        )
        return nfe

    def _booked(self, rows: list[Job], witness: Witness | None, attempt: Attempt) -> int:
        """Run rows; NFE of one. Ghosts are booked as checks, and so is a check that was given up; other losses as lost."""
        ledger = self.ledger
        paid, asked = ledger.nfe, ledger.asked_nfe
        try:
            attempt(rows, witness)
        except BaseException as error:
            spent = ledger.nfe - paid
            ledger.nfe, ledger.asked_nfe = paid, asked
            tried = isinstance(error, (Coupled, Measured)) or (
                isinstance(error, Exception) and not compat.is_out_of_memory(error)
            )
            if tried and isinstance(witness, (Ghost, Pair)):
                self._book(spent)
            else:
                ledger.lost_nfe += spent
            raise
        each = (ledger.nfe - paid) // len(rows)
        if isinstance(witness, Ghost):
            ledger.nfe -= each
            ledger.asked_nfe -= (ledger.asked_nfe - asked) // len(rows)
            self._book(each)
        return each

    def _book(self, nfe: int) -> None:
        self.spent += nfe
        self.ledger.check_nfe += nfe

    # -- what is known ----------------------------------------------------------------------------------------------------

    def _affords(self, nfe: int) -> bool:
        return self.allowance is None or self.spent + nfe <= self.allowance

    def _is_recorded(self, job: Job) -> bool:
        return self.recording is not None and self.recording.job.kind == job.kind

    def _is_cleared(self, levels: tuple[float, float], rows: int) -> bool:
        if not self.suspects:
            return True
        (high, low), spans = levels, self.verdict.cleared.get(self.situation, [])
        for top, bottom, most in sorted(spans, reverse=True):
            if top >= high and (most == 0 or rows <= most):
                high = min(high, bottom)
        return high <= low

    def _descend(self, found: str) -> None:
        lower = GUIDANCE if self.suspects and self.has_guidance and self.verdict.rung < GUIDANCE else ALONE
        self._settle(lower, found)

    def _settle(self, rung: int, found: str, skips: bool = False) -> None:
        self.verdict.rung = rung
        self.verdict.why = self._of_suspects(found, skips) if self.suspects else found
        self.verdict.cleared.clear()
        logging.info("NoiseSearch: candidates run %s. %s", RUNGS[rung], self.verdict.why)

    def _of_suspects(self, found: str, skips: bool = False) -> str:
        names = [suspect.what for suspect in self.suspects if suspect.skips or not skips]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f"{', '.join(names[:3])}{more}: {found}"


def _levels(job: Job) -> tuple[float, float]:
    return job.sigmas[0], job.sigmas[-1]


def _numbers(guider: Any) -> tuple:
    """The guider's settings: a CFG of 1 leaves out what a CFG of 4 does."""
    return tuple(
        sorted(
            (name, value)
            for name, value in vars(guider).items()
            if isinstance(value, (bool, int, float, str))
        )
    )


def _is_coarse(patcher: Any) -> bool:
    """Whether arithmetic depends visibly on the size of a batch; float32 on a CPU does not."""
    model = patcher.model
    dtype = getattr(model, "manual_cast_dtype", None) or model.get_dtype()
    return patcher.load_device.type != "cpu" or dtype not in (torch.float32, torch.float64)
