"""The account of a search: NFE, network rows, decodes, verifier calls, seconds.

As in the paper, one guided denoiser evaluation for one sample is 1 NFE: the two network rows of classifier-free guidance count once,
verifiers and VAE not at all (section 3). Everything is reported side by side.
"""

from __future__ import annotations

import copy
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import comfy.model_management as mm
from comfy.patcher_extension import WrappersMP

KEY = "noise_search"


@dataclass
class Ledger:
    """Counts since it was made. `watch` returns a guider whose evaluations are counted here."""

    nfe: int = 0
    lost_nfe: int = 0  # of batches that ran out of memory and were run again
    network_rows: int = 0
    decodes: int = 0
    verifier_calls: int = 0  # images judged, summed over verifiers
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        self._lock = threading.Lock()  # newer ComfyUI calls the network from one thread per GPU

    def watch(self, guider, on_evaluation=lambda: None):
        """A copy of the guider on a clone of its model patcher; the user's own are left as they are.

        Checks for ComfyUI's cancel before each evaluation and calls `on_evaluation` after it.
        """

        def predict_noise(executor, x, *args, **kwargs):
            mm.throw_exception_if_processing_interrupted()
            out = executor(x, *args, **kwargs)
            with self._lock:
                self.nfe += x.shape[0]
            on_evaluation()
            return out

        def apply_model(executor, x, *args, **kwargs):
            with self._lock:
                self.network_rows += x.shape[0]
            return executor(x, *args, **kwargs)

        patcher = guider.model_patcher.clone()
        patcher.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, predict_noise)
        patcher.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, apply_model)
        watched = copy.copy(guider)
        watched.model_patcher = patcher
        watched.model_options = patcher.model_options
        return watched

    @contextmanager
    def clock(self, what: str):
        """Add the seconds spent inside to `what`."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.monotonic() - began

    def to_dict(self) -> dict:
        return asdict(self)
