"""The journal of a search node: where its file is, what its rows stand for, and how a search is given it."""

from __future__ import annotations

import json
import logging
import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths

from ..sampling.evaluator import Evaluator
from ..sampling.ledger import Ledger
from ..sampling.setup import Setup
from ..search.journal import Journal, JournalFault
from ..search.journaled import Journaled
from ..search.recovered import Recovered
from ..search.rollout import Rollout
from ..untrusted import excerpt
from .fingerprint import context_key, judge_key
from .judging import Judge
from .provenance import Origin, Untraceable

SETTING = "NoiseSearch.Journal.Enabled"
FOLDER, FILE = "noise_search", "journal.sqlite3"
MOST_KNOWN = 1000
ALONE = " alone"  # ends the key of a context whose samples did not share batches

_open: dict[Path, Journal] = {}
# {context key: (its mark, the model that its rows are of)}: rows of a model that is still in memory need no confirmation
_known: dict[str, tuple[str, Any, Any]] = {}


def journal_file() -> Path:
    """In ComfyUI's user directory, in a folder that its server does not serve."""
    own = getattr(folder_paths, "get_system_user_directory", None)  # 0.3.75 and later
    return Path(own(FOLDER) if own else os.path.join(folder_paths.get_user_directory(), f"__{FOLDER}")) / FILE


def journal_is_on() -> bool:
    """ComfyUI's setting NoiseSearch.Journal.Enabled of its one user; on where nothing is set, or where it has many users."""
    file = Path(folder_paths.get_user_directory()) / "default" / "comfy.settings.json"
    try:
        settings = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return True
    return not (isinstance(settings, dict) and settings.get(SETTING) is False)


def the_journal() -> Journal:
    """The one journal of this server."""
    path = journal_file()
    if path not in _open:
        _open[path] = Journal(path)
    return _open[path].refresh()


def clear_journal() -> str:
    """Forget all that was journaled; what to tell the user."""
    try:
        the_journal().clear()
    except JournalFault as fault:
        return str(fault)
    return "The search journal is empty."


def journaled(
    setup: Setup, evaluator: Evaluator, judge: Judge, ledger: Ledger, origin: Origin, alone: bool = False
) -> tuple[Journaled | None, str]:
    """The evaluator with the journal in front of it; or None, and why this search is not journaled. alone: what ran in a batch must not
    stand in, for its last digits."""

    def make() -> Journaled:
        key = context_key(setup, evaluator, origin) + ALONE * alone
        memory = JudgesMemory(judge, judge_key(judge, evaluator.jobs.early is not None))
        return Journaled(evaluator, the_journal(), key, memory, ledger, *_known_model(setup, key))

    return _traced(make)


def recovered(
    setup: Setup, evaluator: Evaluator, pieces: Sequence[Rollout], ledger: Ledger, origin: Origin
) -> Journaled | None:
    """The evaluator of a replay of these pieces, with the journal in front of it; None where nothing can be told from it."""

    def make() -> Journaled:
        key = context_key(setup, evaluator, origin)
        # what ran alone has the digits of a stock sampler
        contexts = [(one, *_known_model(setup, one)) for one in (key + ALONE, key)]
        return Recovered(pieces, contexts, evaluator, the_journal(), None, ledger)

    return _traced(make)[0]


def _traced(make: Callable[[], Journaled]) -> tuple[Journaled | None, str]:
    try:
        return make(), ""
    except Untraceable as error:
        return None, f"This search cannot be resumed: {error}."
    except Exception as error:  # what other packs say of themselves
        logging.exception("NoiseSearch: the search journal failed.")
        return None, f"This search cannot be resumed: {type(error).__name__}, {excerpt(str(error))}."


def _known_model(setup: Setup, key: str) -> tuple[str, Callable[[str], None]]:
    """(the mark of the context that is known to be of this very model, what to call once that is found out)."""
    model = setup.guider.model_patcher
    patches = getattr(model, "patches_uuid", None)

    def learn(mark: str) -> None:
        _known.pop(key, None)
        _known[key] = mark, weakref.ref(model.model), patches
        if len(_known) > MOST_KNOWN:
            del _known[next(iter(_known))]

    mark, loaded, then = _known.get(key, ("", lambda: None, None))
    return mark if loaded() is model.model and then == patches else "", learn


@dataclass(frozen=True)
class JudgesMemory:
    """What a judge said, as the journal keeps it."""

    judge: Judge
    key: bytes

    def held_out(self, id: int) -> float | None:
        return self.judge.witness.get(id)

    def sure(self, id: int) -> bool:
        return id not in self.judge.unsure

    def recall(self, id: int, scores: tuple[float, ...], held_out: float | None) -> None:
        self.judge.recall(id, scores, held_out)
