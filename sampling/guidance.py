"""CFG functions one row at a time, around a network that still takes the whole batch.

Most nodes that couple rows do so here, where a mean or a norm over the batch is one over a single sample in a lone run.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from .proof import GUIDANCE


def has_guidance(options: dict) -> bool:
    return any(options.get(key) for key in GUIDANCE)


def row_by_row(guider: Any) -> Any:
    """A copy of the guider whose CFG functions are given one row after the other."""
    one = copy.copy(guider)
    one.model_options = {
        key: _by_row(value) if key in GUIDANCE else value for key, value in guider.model_options.items()
    }
    return one


def _by_row(functions: Any) -> Any:
    if isinstance(functions, list):
        return [_by_row(function) for function in functions]

    def each_row(args: dict) -> Any:
        rows = args["input"].shape[0]
        if rows == 1:
            return functions(args)
        results = [functions({key: _row(value, i, rows) for key, value in args.items()}) for i in range(rows)]
        if isinstance(results[0], torch.Tensor):
            return torch.cat(results)
        return [torch.cat(parts) for parts in zip(*results)]  # before CFG: one prediction per conditioning

    return each_row


def _row(value: Any, i: int, rows: int) -> Any:
    if isinstance(value, torch.Tensor) and value.ndim and value.shape[0] == rows:
        return value[i : i + 1]
    if isinstance(value, list) and any(isinstance(one, torch.Tensor) for one in value):
        return [_row(one, i, rows) for one in value]
    return value
