"""The account of a search: NFE, network rows, decodes, verifier calls, seconds.

As in the paper, one guided denoiser evaluation for one sample is 1 NFE: the two network rows of classifier-free guidance count once,
verifiers and VAE not at all (section 3). Everything is reported side by side. An evaluation that a cache answers without the network
(EasyCache, LazyCache) was asked for, but not paid.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import comfy.model_management as mm
from comfy.patcher_extension import WrappersMP

KEY = "noise_search"


@dataclass
class Ledger:
    """Counts since it was made. `watch` returns a guider whose evaluations are counted here.

    nfe: evaluations for which the network ran. asked_nfe: all that the solvers asked for, of which a cache may have skipped some.
    check_nfe: those beside, that found out whether candidates may share a batch, or whether the model is still the journal's.
    """

    nfe: int = 0
    asked_nfe: int = 0
    check_nfe: int = 0
    lost_nfe: int = 0  # of batches that ran out of memory and were run again, or were given up when the search was told to stop
    network_rows: int = 0
    decodes: int = 0
    verifier_calls: int = 0  # images judged, summed over verifiers
    journal_candidates: int = 0  # answered by the journal of earlier searches
    journal_nfe: int = 0  # what those cost when they were sampled
    recomputed_nfe: int = 0  # of samples on the way that the journal does not keep, part of nfe
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()  # newer ComfyUI calls the network from one thread per GPU

    def watch(
        self,
        guider: Any,
        on_evaluation: Callable[[], None] = lambda: None,
        before_evaluation: Callable[[], None] = lambda: None,
    ) -> Any:
        """A copy of the guider on a clone of its model patcher; the user's own are left as they are.

        Checks for ComfyUI's cancel before each evaluation; calls `before_evaluation` then, and `on_evaluation` after it.
        """
        network = _Network()

        def asked(executor: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
            mm.throw_exception_if_processing_interrupted()
            before_evaluation()
            with self._lock:
                self.asked_nfe += x.shape[0]
            out = executor(x, *args, **kwargs)
            on_evaluation()
            return out

        def evaluated(executor: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
            before = network.calls
            out = executor(x, *args, **kwargs)
            if (
                network.calls > before or not network.calls
            ):  # the latter: a guider that asks the network in a way of its own
                with self._lock:
                    self.nfe += x.shape[0]
            return out

        def apply_model(executor: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
            before = network.forwards
            out = executor(x, *args, **kwargs)
            if network.forwards > before or not network.tells:
                with self._lock:
                    self.network_rows += x.shape[0]
                    network.calls += 1
            return out

        patcher = guider.model_patcher.clone()
        options = patcher.model_options.setdefault("transformer_options", {})
        _outermost(options.setdefault("wrappers", {}), WrappersMP.PREDICT_NOISE, asked)  # before any cache
        patcher.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, evaluated)  # after it
        patcher.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, apply_model)
        patcher.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, network.forward)
        watched = copy.copy(guider)
        watched.model_patcher = patcher
        watched.model_options = patcher.model_options
        return watched

    @contextmanager
    def clock(self, what: str) -> Iterator[None]:
        """Add the seconds spent inside to `what`."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.monotonic() - began

    @property
    def told(self) -> int:
        """NFE paid now and by earlier searches, as a search is told."""
        return self.nfe + self.journal_nfe - self.recomputed_nfe

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class _Network:
    """Whether the network ran: caches answer in its place, around the guider's prediction or within the network's own forward.

    calls: those for which it ran. tells: whether it tells its wrappers of a forward; if not, every call of it counts.
    """

    def __init__(self) -> None:
        self.calls, self.tells = 0, False
        self._here = threading.local()

    @property
    def forwards(self) -> int:
        """In this thread."""
        return getattr(self._here, "forwards", 0)

    def forward(self, executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.tells = True
        self._here.forwards = self.forwards + 1
        return executor(*args, **kwargs)


def _outermost(wrappers: dict[str, dict[str, list]], kind: str, wrapper: Callable[..., Any]) -> None:
    """Put a wrapper around all others of its kind."""
    wrappers[kind] = {KEY + "_first": [wrapper], **wrappers.get(kind, {})}
