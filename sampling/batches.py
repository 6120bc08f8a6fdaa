"""How many samples go through a model at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import comfy.model_management as mm
from comfy.sampler_helpers import estimate_memory, get_additional_models

from .. import compat

MOST = 32
SPARE = 1.5  # of what a batch is estimated to take: as much as ComfyUI wants free before it runs both halves of CFG at once

Item = TypeVar("Item")
Done = TypeVar("Done")


def rows_that_fit(guider: Any, shape: Any) -> int:
    """Samples of `shape` [1, ...] that fit into the model's device at once, by ComfyUI's own estimate; 1 to MOST.

    As many as leave the weights where they are. Where not even one does, ComfyUI keeps part of the weights off the device, and a
    larger batch would push out more of them.
    """
    patcher, conds = guider.model_patcher, guider.original_conds
    helpers, working = get_additional_models(conds, patcher.model_dtype())  # ControlNets and their like
    one, two = (estimate_memory(patcher, (rows, *shape[1:]), conds)[0] for rows in (1, 2))
    room = (room_beside([patcher, *helpers]) - working) / SPARE
    return int(min(max((room - one) / max(two - one, 1) + 1, 1), MOST))


def room_beside(patchers: list[Any]) -> float:
    """Bytes free on the first one's device once the weights of all of them are there, and other models have made room."""
    device = patchers[0].load_device
    free = mm.get_free_memory(device) - mm.extra_reserved_memory()
    if device == patchers[0].offload_device:  # the weights are there, loaded or not
        return free
    models = {id(patcher.model) for patcher in patchers}
    for loaded in mm.current_loaded_models:
        other = loaded.model  # None: its owner is gone, and ComfyUI has not noticed yet
        if loaded.device == device and other is not None and id(other.model) not in models:
            free += other.loaded_size()
    return free - sum(patcher.model_size() - patcher.loaded_size() for patcher in patchers)


class BatchSize:
    """The number of rows to try next: halved when memory runs out, never raised again in this run."""

    def __init__(self, rows: int):
        self.rows = max(rows, 1)

    def run(self, items: list[Item], work: Callable[[list[Item]], Done]) -> tuple[Done, int]:
        """`work(batch)` on the next batch of items; returns (result, number of items done). Memory errors are retried with fewer rows."""
        while True:
            batch = items[: self.rows]
            try:
                return work(batch), len(batch)
            except Exception as error:
                if len(batch) == 1 or not compat.is_out_of_memory(error):
                    raise
                self.rows = len(batch) // 2
                logging.warning(
                    "NoiseSearch: out of memory with %d samples at once, going on with %d.",
                    len(batch),
                    self.rows,
                )
            mm.soft_empty_cache()  # outside the handler: the traceback holds the tensors
