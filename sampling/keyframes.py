"""Hooks with keyframes count the levels they have come through. A piece that begins half-way tells them of those above it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


def tell(model: Any, options: dict, levels: Callable[[], Iterable[float]]) -> None:
    """Bring the hooks of a run that is about to begin to where the whole schedule's run would have them.

    model: as the sampler is given it. levels: the noise levels above, asked for when there are keyframes only.
    """
    guider = model.inner_model
    groups = {
        cond["hooks"] for conds in guider.conds.values() for cond in conds if cond.get("hooks") is not None
    }
    moving = [group for group in groups if any(not hook.hook_keyframe.is_empty() for hook in group.hooks)]
    if not moving:
        return
    patcher = guider.inner_model.current_patcher
    for level in levels():
        for group in moving:
            patcher.prepare_hook_patches_current_keyframe(torch.tensor([level]), group, options)
