"""The state of a search node, as its panel draws it: whole each time, few times a second, to the client that queued (docs/panel.md)."""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image

from ..compat import COMFYUI
from ..sampling.ledger import Ledger
from ..search.driver import BY_HAND, SPENT, Limits, Progress
from ..search.journaled import lineage_key
from ..search.rollout import Outcome, Recipe, Rollout, is_a_seed, lineage, recipes_to_json
from ..untrusted import legible
from . import pictures
from .faults import Faults
from .found import FoundOne
from .pace import Pace
from .progress import server

EVENT, UI = "noise_search.state", "noise_search_state"
VERSION = 1
GAP = 0.25  # seconds between two states
RATE = 150_000  # bytes a second
SHARE, AHEAD = 0.005, 0.002  # of the time, at most: for telling, and for looking ahead
BOARD = 24  # candidates that are shown, the best of them
ON_THE_WAY = 8  # unfinished ones beside
MOST_SEEN = 16  # images that wait for the next state
POINTS = 400
SOON = 3.0  # seconds of a search before it is worth a forecast; the last state has one in any case
LONGEST_READ = 2000  # characters of the prompt, which is told each time
LONGEST_RECIPE = 2000  # characters of one that is told while the search runs
LONGEST_LAST = 8000  # and at its end


@dataclass
class Viewer:
    """Who watches a node, and what its states are tagged with. client: ComfyUI's id of the client that queued."""

    client: str | None
    workflow: str | None
    prompt: str | None
    node: str
    run: str


class Live:
    """What the panel of one search node is told. viewer: None where nobody can watch: then nothing is drawn and nothing is told."""

    def __init__(self, viewer: Viewer | None = None, picked: bool = False) -> None:
        self.viewer, self.picked = viewer, picked
        self.searches: list[LiveSearch] = []
        self.about: dict[str, Any] = {}
        self.faults = Faults()
        self.sampling: str | None = None  # a picture of a running sample
        self._next = 0.0  # when the next state may be told

    def begin(self, name: str, judge: Any) -> None:
        """Told once everything is planned. judge: None for a replay."""
        self.about = {
            "search": name,
            "judges": judge.names if judge else [],
            "leading": judge.leading if judge else 0,
            "held_out": judge.held_out.name if judge and judge.held_out is not None else None,
            "read": legible(judge.prompt, LONGEST_READ, "utf-8") if judge else "",
        }
        self.tell()

    def search(self) -> LiveSearch:
        """One more sample of the latent batch."""
        self.searches.append(LiveSearch(self))
        return self.searches[-1]

    @property
    def glances(self) -> Callable[[Image.Image], None] | None:
        """Takes pictures of running samples; None where no front end has a panel to show them in."""
        return self.glance if self.viewer is not None and self.viewer.workflow is not None else None

    def glance(self, picture: Image.Image) -> None:
        with self.faults.spared("The panel's pictures"):
            assert self.viewer is not None
            self.no_sample()
            self.sampling = pictures.name_of(self.viewer.run, str(time.monotonic()))
            pictures.write(self.sampling, picture)
        self.tell()

    def no_sample(self) -> None:
        """Take the picture of a running sample away."""
        name, self.sampling = self.sampling, None
        pictures.drop(name)

    def close(self) -> None:
        """The search is over, however it ended: no sample runs any more."""
        with self.faults.spared("The panel's pictures"):
            self.no_sample()

    @property
    def rests(self) -> bool:
        """Whether the client was told just now."""
        return time.monotonic() < self._next

    def tell(self) -> None:
        """Tell the client where things stand, unless it was told just now."""
        running = server()
        if self.viewer is None or self.viewer.client is None or running is None or self.rests:
            return
        with self.faults.spared("The panel"):
            for one in self.searches:
                one.look_ahead()
            began = _clocks()
            for one in self.searches:
                one.catch_up()
            state = self.state("running")
            size = len(json.dumps(state))
            running.send_sync(EVENT, state, self.viewer.client)
            self._next = time.monotonic() + max(GAP, size / RATE, _took(began) / SHARE)

    def ui(self, notes: Sequence[str], awaiting: bool) -> dict[str, list]:
        """The last state, for the node's `ui`; {} where nobody can watch."""
        if self.viewer is None:
            return {}
        with self.faults.spared("The panel"):
            self.no_sample()
            for one in self.searches:
                one.catch_up()
            return {UI: [self.state("done", notes, awaiting)]}
        return {}

    def state(self, phase: str, notes: Sequence[str] = (), awaiting: bool = False) -> dict[str, Any]:
        assert self.viewer is not None
        last = phase == "done"
        if any(one.phase == "finishing" for one in self.searches):
            phase = "finishing"
        return {
            "noise_search": VERSION,
            "workflow": self.viewer.workflow,
            "prompt": self.viewer.prompt,
            "node": self.viewer.node,
            "run": None if last else self.viewer.run,
            "phase": "done" if last else phase,
            "picked": self.picked,
            "awaiting": awaiting,
            **self.about,
            "notes": list(notes),
            "sampling": self.sampling,
            "searches": [one.state(last) for one in self.searches],
        }


def _beside(method: Callable[..., None]) -> Callable[..., None]:
    """Not without someone who watches; and what goes wrong costs a note, not the search."""

    @functools.wraps(method)
    def spared(self: LiveSearch, *args: Any) -> None:
        if self.live.viewer is not None:
            with self.live.faults.spared("The panel"):
                method(self, *args)

    return spared


@dataclass
class LiveSearch:
    """One sample of the latent batch. at, round: by outcome id, the NFE spent when it was told, and which request it belonged to."""

    live: Live
    phase: str = "waiting"
    plan: str = ""
    limits: Limits = field(default_factory=lambda: Limits(0))
    leading: int = 0
    judge: str = ""  # the name of the leading one
    whole: int = 0  # NFE of one candidate
    key: str = ""  # what tells its pictures from others'
    final_key: str = ""  # and those of drafts that were rendered with all steps
    candidates: int = 0  # asked for; 0 where only NFE are
    held_out: dict[int, float] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    at: dict[int, int] = field(default_factory=dict)
    round: dict[int, int] = field(default_factory=dict)
    top: list[int] = field(default_factory=list)
    unfinished: list[int] = field(default_factory=list)
    finished: int = 0
    nfe: int = 0
    curve: list[tuple[int, int]] = field(default_factory=list)
    pace: Pace = field(default_factory=lambda: Pace(None))
    chosen: int | None = None
    why: str = ""
    warning: str = ""
    stopped: str = ""
    seconds: float | None = None
    foresee: Callable[[Sequence[Outcome], float | None], dict[str, Any]] | None = (
        None  # None: nothing is compared
    )
    _foreseen: tuple[int, dict[str, Any] | None] = (0, None)  # from so many finished candidates
    _ahead: float = 0.0  # when it may be told anew
    _before: tuple[int, int] = (0, 0)  # the ledger's NFE when its turn came: told, paid
    _pictures: dict[int, str] = field(default_factory=dict)
    _seen: dict[int, torch.Tensor] = field(
        default_factory=dict
    )  # small images, uint8 [h, w, 3], since it was told
    _best: Callable[[int], list[int]] | None = None  # gives the best so many, when they have changed since
    _recipe: Callable[[Mapping[int, Outcome], int], Recipe] | None = None  # None: all are in _recipes
    _recipes: dict[int, Recipe] = field(default_factory=dict)  # of what is shown at the end
    _cards: dict[int, dict[str, Any]] = field(default_factory=dict)  # what is told of those on the board
    _dots: dict[int, list[Any]] = field(default_factory=dict)  # and of all

    def watching(self, judge: Callable[..., Sequence[Sequence[float]]]) -> Callable[..., Any]:
        """The judge, with the panel looking over its shoulder."""

        def judge_and_show(images: torch.Tensor, ids: Sequence[int], *more: Any) -> Sequence[Sequence[float]]:
            scores = judge(images, ids, *more)
            self.saw(ids, images)
            return scores

        return judge_and_show if self.live.viewer is not None else judge

    # -- what it is told ------------------------------------------------------------------------------------------------

    def planned(
        self,
        plan: str,
        limits: Limits,
        whole: int,
        candidates: int,
        key: str,
        final_key: str,
        judge: Any,
    ) -> None:
        """key, final_key: of the journal, of candidates and of drafts rendered with all steps, which tell their pictures from others';
        "" without one. judge: None for a replay."""
        self.plan, self.limits, self.whole = plan, limits, whole
        self.candidates = candidates
        self.key = key or (self.live.viewer.run if self.live.viewer else "") + f" {len(self.live.searches)}"
        self.final_key = final_key or f"{self.key} final"
        if judge:
            self.held_out, self.leading, self.judge = judge.witness, judge.leading, judge.names[judge.leading]

    @_beside
    def recipes_by(self, recipe: Callable[[Mapping[int, Outcome], int], Recipe]) -> None:
        """recipe: gives that of a finished outcome, as the outputs have it."""
        self._recipe = recipe

    @_beside
    def begin(self, ledger: Ledger, looks: Any, probe: Callable[[], Any] | None) -> None:
        """Its turn has come. looks: what tells the time of decoding and judging from others'. probe: decodes one, to see how long that
        takes; None where it is not worth it."""
        self.phase, self.pace, self._before = "running", Pace(looks), (ledger.told, ledger.nfe)
        self.live.tell()
        if probe:
            self.pace.probe(self.limits.nfe // self.whole if self.whole else 0, probe)

    @_beside
    def saw(self, ids: Sequence[int], images: torch.Tensor) -> None:
        """The images [B, (T,) H, W, C] of these outcomes, which are told of next. Only what is shown of them is kept."""
        for id, image in zip(ids, images):
            if id not in self._pictures and id not in self._seen:
                self._seen[id] = pictures.small(image)

    def advance(self, ledger: Ledger) -> None:
        """After an evaluation."""
        if not (self.live.rests and self.pace.goes):
            self._advance(ledger)

    @_beside
    def _advance(self, ledger: Ledger) -> None:
        told, paid = self._before
        self.nfe = ledger.told - told
        self.pace.evaluated(ledger.nfe - paid)
        self.live.tell()

    @_beside
    def wave(self, progress: Progress, ledger: Ledger) -> None:
        """After the candidates of a wave were judged."""
        for outcome in progress.wave:
            self.outcomes[outcome.id] = outcome
            self.at[outcome.id], self.round[outcome.id] = progress.nfe, progress.round
        self.nfe, self.finished, self._best = progress.nfe, progress.finished, progress.top
        self.unfinished = [outcome.id for outcome in progress.leaders[:ON_THE_WAY]]
        best = progress.best
        if best is not None and best.finished and (not self.curve or self.curve[-1][1] != best.id):
            self.curve.append((progress.nfe, best.id))
        looking = ledger.seconds.get("decoding", 0.0) + ledger.seconds.get("verifying", 0.0)
        self.pace.wave(ledger.nfe - self._before[1], ledger.decodes, looking)
        if len(self._seen) > MOST_SEEN:
            self.catch_up()
        self.live.no_sample()  # what it shows is among them now
        self.live.tell()

    @_beside
    def finishing(self) -> None:
        """The winner is being rendered once more."""
        self.phase = "finishing"
        self.live.tell()

    @_beside
    def done(self, found: FoundOne, warning: str) -> None:
        """warning: what must be said beside the result, "" when all is well."""
        self.warning = warning
        result = found.result
        self.phase, self.stopped, self.nfe = "done", result.stopped, found.search_nfe + found.final_nfe
        self.outcomes = dict(result.outcomes)
        self.seconds = self.pace.seconds
        self.chosen = found.chosen
        self.curve = [(nfe, outcome.id) for nfe, outcome in result.curve]
        self.top, self._best = [outcome.id for outcome in result.ranking[:BOARD]], None
        self.unfinished, self.finished = [], len(result.ranking)
        self._foreseen = self.finished, found.forecast
        self.why = why(found, self.judge, self.leading)
        shown = {id for id in (*self.top, min(self.outcomes)) if self.outcomes[id].finished}
        recipes = {id: self._recipe_of(id) for id in shown.difference(found.top_ids)}
        self._recipes = recipes | dict(zip(found.top_ids, found.top_recipes))
        self._recipe = None  # it holds on to all latents of the search
        self._cards.clear()
        for id, image, recipe in zip(found.top_ids, found.images, found.top_recipes):
            if id in found.rendered:  # what is there is the draft
                name = named(self.final_key, recipe.pieces)
                pictures.write(name, pictures.small(image[0]))
                self._pictures[id] = name
                self._cards.pop(id, None)
            else:
                self.saw([id], image)

    # -- what it says -----------------------------------------------------------------------------------------------------

    def state(self, last: bool) -> dict[str, Any]:
        if last:  # which has room for long recipes
            self._cards.clear()
        board = [*self.top, *self.unfinished]
        first = min(self.outcomes, default=None)
        return {
            "phase": self.phase,
            "plan": self.plan,
            "spent": {
                "candidates": self.finished,
                "nfe": self.nfe,
                "seconds": round(self.pace.seconds if self.seconds is None else self.seconds, 2)
                if self.phase != "waiting"
                else 0.0,
            },
            "budget": {
                "candidates": self.candidates or None,
                "nfe": self.limits.nfe,
                "seconds": self.limits.seconds,
            },
            "left": None if last else self.left(),
            "rounds": len(set(self.round.values())),
            "board": [self._candidate(id, last) for id in board],
            "first": None if first is None else self._candidate(first, last),
            "points": self._points(),
            "curve": list(self.curve),  # another thread writes it out
            "chosen": self.chosen,
            "why": self.why,
            "warning": self.warning,
            "stopped": self.stopped,
            "forecast": self.forecast(),
        }

    def forecast(self) -> dict[str, Any] | None:
        """What some more candidates would bring: {"more", "gain", "low", "high", "seconds"} or {"unknown": reason}; None says nothing."""
        return self._foreseen[1]

    def look_ahead(self) -> None:
        """The forecast anew, once there are enough new candidates for it to say something else, and it is not too dear."""
        if self.foresee is None or self.finished < 1.1 * self._foreseen[0] or not self.finished:
            return
        if self.pace.seconds < SOON or time.monotonic() < self._ahead:
            return
        began = _clocks()
        with self.live.faults.spared("The forecast"):
            done = [outcome for outcome in self.outcomes.values() if outcome.finished]
            self._foreseen = self.finished, self.foresee(done, self.pace.left(self.whole, 1))
        self._ahead = time.monotonic() + _took(began) / AHEAD

    def left(self) -> float | None:
        """Seconds to go, for the pictures that are not there yet and the last rendering."""
        if self.phase in ("waiting", "done"):
            return None
        nfe = max(0, self.limits.nfe - self.nfe)
        seconds = self.pace.left(nfe, nfe // self.whole if self.whole else 0)
        if seconds is not None and self.limits.seconds is not None:
            seconds = min(seconds, max(0.0, self.limits.seconds - self.pace.seconds))
        return None if seconds is None else round(seconds, 2)

    def _candidate(self, id: int, last: bool) -> dict[str, Any]:
        if id not in self._cards:
            self._cards[id] = self._card(id, last)
        return self._cards[id]

    def _card(self, id: int, last: bool) -> dict[str, Any]:
        outcome = self.outcomes[id]
        recipe = self._recipe_of(id) if outcome.finished else None
        pieces = recipe.pieces if recipe else lineage(self.outcomes, id)
        noise = pieces[0].noise
        return {
            "id": id,
            "seed": None if noise is None else str(noise.seed),
            "plain": is_a_seed(pieces),
            "recipe": self._told(id, recipe, last) if recipe else None,
            "scores": [_short(score) for score in outcome.scores],
            "held_out": _short(self.held_out.get(id)),
            "nfe": outcome.nfe,
            "level": outcome.rollout.stop,
            "picture": self._pictures.get(id),
        }

    def _recipe_of(self, id: int) -> Recipe:
        """As the outputs have it."""
        return self._recipe(self.outcomes, id) if self._recipe else self._recipes[id]

    def _told(self, id: int, recipe: Recipe, last: bool) -> str | None:
        text = recipes_to_json([recipe], COMFYUI)
        most = LONGEST_LAST if last else LONGEST_RECIPE
        return text if len(text) <= most or id == self.chosen else None

    def _points(self) -> list[list[Any]]:
        """All that was tried, thinned out evenly where it is much, but for the best and what they come from."""
        ids = sorted(self.at)
        if len(ids) > POINTS:
            kept = {id for _, id in self.curve[-POINTS // 4 :]}.union(self.top)
            step = -(-len(ids) // (POINTS - len(kept)))
            ids = sorted(kept.union(ids[::step]).intersection(self.at))
        for id in ids:
            if id not in self._dots:
                self._dots[id] = self._dot(id)
        return [self._dots[id] for id in ids]

    def _dot(self, id: int) -> list[Any]:
        outcome = self.outcomes[id]
        rollout = outcome.rollout
        scores = [_short(score) for score in outcome.scores]
        held = _short(self.held_out.get(id))
        return [id, self.at[id], scores, held, round(rollout.stop, 4), rollout.parent, self.round[id]]

    def catch_up(self) -> None:
        """Before it is told: who is shown now, and their pictures as files. Of others that came and went since nothing is written."""
        if self._best is not None:
            self.top, self._best = self._best(BOARD), None
        with self.live.faults.spared("The panel's pictures"):
            self._draw([*self.top, *self.unfinished, *([min(self.outcomes)] if self.outcomes else [])])
        self._seen.clear()

    def _draw(self, ids: Sequence[int]) -> None:
        for id in ids:
            if id in self._pictures:
                continue
            name = named(self.key, lineage(self.outcomes, id))
            if id in self._seen:
                pictures.write(name, self._seen.pop(id))
            elif not pictures.there(name):
                continue
            self._pictures[id] = name
            self._cards.pop(id, None)


def named(key: str, pieces: Sequence[Rollout]) -> str:
    """The file of an image's picture. key: of its search. pieces: all that made it."""
    return pictures.name_of(key, functools.reduce(lineage_key, pieces, b"").hex())


def why(found: FoundOne, judged_by: str, leading: int) -> str:
    """What was chosen and why, in a sentence or two."""
    result = found.result
    if not result.settings.needs_verifier:
        return "Rendered once, from its recipe."
    if not judged_by or not found.scores:
        return "The only candidate."
    score, count = found.scores[leading], len(result.ranking)
    first = result.outcomes[min(result.outcomes)]
    said = f"The best of {count} by {judged_by}: {score:.3g}" if count > 1 else f"{judged_by}: {score:.3g}"
    if first.finished and first.id != found.chosen:
        said += f" (the first candidate has {first.scores[leading]:.3g})" if first.scores else ""
    elif count > 1 and first.id == found.chosen:
        said += ", the first candidate itself"
    if result.stopped in ("", SPENT):  # as expected
        return f"{said}."
    ended = "You stopped it" if result.stopped == BY_HAND else f"It ended because {result.stopped}"
    return f"{said}. {ended}."


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.thread_time()


def _took(began: tuple[float, float]) -> float:
    """Seconds of our own since then. On a busy machine a thread waits, which is not its cost; some clocks of threads are coarse."""
    return min(now - then for now, then in zip(_clocks(), began))


def _short(score: float | None) -> float | None:
    """As a browser's JSON can read it."""
    return None if score is None or not math.isfinite(score) else float(f"{score:.5g}")


def viewer_of(node: str | None, extra: Any, run: str) -> Viewer | None:
    """Who watches the node that runs; None where nobody can: outside a server, or from a client that sent no workflow and listens to nothing."""
    running = server()
    workflow = extra.get("workflow") if isinstance(extra, dict) else None
    client = getattr(running, "client_id", None)
    if running is None or node is None or (client is None and not isinstance(workflow, dict)):
        return None
    id = workflow.get("id") if isinstance(workflow, dict) else None
    prompt = getattr(running, "last_prompt_id", None)
    return Viewer(client, id if isinstance(id, str) else None, prompt, str(node), run)
