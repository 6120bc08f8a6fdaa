"""When to stop sampling and look at what is there.

VAE and verifiers may push the diffusion model out of its device, and the next sample brings it back. So a wave goes on until that
is a small part of its time; where nothing is pushed out, every batch is a wave.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import comfy.model_management as mm
from comfy.patcher_extension import WrappersMP

KEY = "noise_search_swaps"
TIMES = 20  # a wave samples at least so many times as long as a swap takes
FIRST = 8  # samples of a wave where that is not known yet; so a small search is one wave
MOST = 64  # samples of any wave: their images are held until they are compared
ROOMY = 8 * 2**30  # bytes free beside the diffusion model: VAE and verifiers will hardly push it out


class Swaps:
    """Measures what it takes to push the diffusion model out for VAE and verifiers, and to bring it back.

    patcher: the model's, on which it watches the loading. seconds: of the last swap; None until one could be measured.
    loading: seconds spent so far on bringing the model to its device.
    """

    def __init__(self, patcher: Any):
        self.patcher = patcher
        self.seconds: float | None = 0.0 if patcher.load_device == patcher.offload_device else None
        self.loading = 0.0
        self._left: tuple[int, dict[int, int]] | None = None
        patcher.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, self._prepare)

    def looking(self) -> None:
        """Sampling is over for now: VAE and verifiers are next."""
        self._left = self.patcher.loaded_size(), self._others()

    def _others(self) -> dict[int, int]:
        """Bytes on a device of every other model."""
        there = [patcher for patcher in mm.loaded_models() if patcher is not None]  # None: its owner is gone
        others = [patcher for patcher in there if patcher.model is not self.patcher.model]
        return {id(patcher.model): patcher.loaded_size() for patcher in others}

    def _prepare(self, executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Around ComfyUI's loading of the model before it samples."""
        here, others = self.patcher.loaded_size(), self._others()
        began = time.monotonic()
        prepared = executor(*args, **kwargs)
        took = time.monotonic() - began
        self.loading += took
        if self._left is not None and self.patcher.load_device != self.patcher.offload_device:
            mine, before = self._left
            after = self._others()
            pushed_out, brought_back = mine - here, self.patcher.loaded_size() - here
            came = sum(max(size - before.get(model, 0), 0) for model, size in others.items())
            went = sum(max(size - after.get(model, 0), 0) for model, size in others.items())
            # bytes that were moved while VAE and verifiers were at work, at the speed of those that are moved now
            per_byte = took / (brought_back + went) if brought_back > 0 else 0.0
            self.seconds = took + (pushed_out + came) * per_byte if pushed_out > 0 else 0.0
        self._left = None
        return prepared


class Wave:
    """Samples on their way to being looked at."""

    def __init__(self, swaps: Swaps):
        self.swaps, self.samples, self.seconds = swaps, 0, 0.0

    def add(self, samples: int, seconds: float) -> None:
        """So many more were sampled, in so many seconds of sampling."""
        self.samples += samples
        self.seconds += seconds

    @property
    def over(self) -> bool:
        swap = self.swaps.seconds
        if self.samples >= MOST:
            return True
        if swap is None:
            return self.samples >= FIRST or mm.get_free_memory(self.swaps.patcher.load_device) >= ROOMY
        return self.seconds >= TIMES * swap
