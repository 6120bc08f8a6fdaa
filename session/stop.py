"""Stop and keep the best: who may ask a running search to end, and how it hears of it.

ComfyUI's own cancel is something else: it ends at once and returns nothing.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SHORTEST_KEY = 16  # letters of a key that a client chooses itself; shorter ones could be guessed
LONGEST_KEY = 200


class Stopper:
    """How often one run was told to stop. run: its id, which only the client that queued it is told.

    Once: no new batch; what is sampled is judged, the best is kept, last renderings still run. Twice: those are skipped too.
    """

    def __init__(self, run: str = "") -> None:
        self.run, self.asked = run, 0

    @property
    def stopped(self) -> bool:
        return self.asked > 0

    @property
    def hurried(self) -> bool:
        return self.asked > 1


_running: dict[str, list[Stopper]] = {}
_lock = threading.Lock()


@contextmanager
def running(key: str | None = None) -> Iterator[Stopper]:
    """A Stopper that `stop` reaches while the block runs, by its own id and by `key`, where the client chose one for all its searches."""
    stopper = Stopper(secrets.token_urlsafe(24))
    names = [stopper.run, *([key] if key_is_good(key) else [])]
    with _lock:
        for name in names:
            _running.setdefault(str(name), []).append(stopper)
    try:
        yield stopper
    finally:
        with _lock:
            for name in names:
                _running[str(name)].remove(stopper)
                if not _running[str(name)]:
                    del _running[str(name)]


def key_is_good(key: object) -> bool:
    return isinstance(key, str) and SHORTEST_KEY <= len(key) <= LONGEST_KEY


def stop(run: object) -> int:
    """Tell the runs of this id or key to stop; how many there were."""
    with _lock:
        stoppers = list(_running.get(run, ())) if isinstance(run, str) else []
    for stopper in stoppers:
        stopper.asked += 1
    return len(stoppers)
