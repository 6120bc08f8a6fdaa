"""How the running samples come along, as ComfyUI's own previewer shows them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import latent_preview
import torch

PAUSE = 2.0  # seconds without a new picture before one of a running sample is shown

Picture = tuple[str, Any, int]  # format, image, largest side: what ComfyUI's progress bar takes


class Glances:
    """Shows a running sample where no finished one was to be seen for a while; nothing where ComfyUI's previews are switched off."""

    def __init__(self, patcher: Any, show: Callable[[Picture], None] | None):
        self.patcher, self.show = patcher, show
        self._previewer: Any = None
        self._asked = False
        self.rest()

    def rest(self) -> None:
        """Something else is being shown."""
        self.due = time.monotonic() + PAUSE

    def look(self, x0: torch.Tensor) -> None:
        """x0: [B, ...] clean predictions in model space, of which the first is shown."""
        if self.show is None or time.monotonic() < self.due:
            return
        try:
            if not self._asked:
                self._asked = True
                self._previewer = latent_preview.get_previewer(
                    self.patcher.load_device, self.patcher.model.latent_format
                )
            if self._previewer is not None:
                self.show(self._previewer.decode_latent_to_preview_image("JPEG", x0))
        except Exception as error:  # a picture on the way is no reason to lose a search
            logging.warning("NoiseSearch: running samples cannot be shown (%r).", error)
            self._previewer = None
        self.rest()
