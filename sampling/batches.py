"""How many samples go through a model at once."""

from __future__ import annotations

import logging

import comfy.model_management as mm
from comfy.sampler_helpers import estimate_memory

from .. import compat

MOST = 32


def rows_that_fit(guider, shape) -> int:
    """Samples of `shape` [1, ...] that fit into the model's device at once, by ComfyUI's own estimate; 1 to MOST."""
    patcher = guider.model_patcher
    needs = [estimate_memory(patcher, (rows, *shape[1:]), guider.original_conds)[0] for rows in (1, 2)]
    per_row = max(needs[1] - needs[0], 1)
    device = patcher.load_device
    # other models make room, so what counts is the device, less this model's weights
    room = max(mm.get_free_memory(device), 0.8 * mm.get_total_memory(device) - patcher.model_size())
    return int(min(max(0.8 * (room - needs[0]) / per_row + 1, 1), MOST))


class BatchSize:
    """The number of rows to try next: halved when memory runs out, never raised again in this run."""

    def __init__(self, rows: int):
        self.rows = max(rows, 1)

    def run(self, items: list, work):
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
