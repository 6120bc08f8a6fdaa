"""What the user sees while a search runs: a bar in NFE, the best image so far, and one line of text."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import comfy.utils
import torch
from PIL import Image

from ..sampling.glances import Picture
from .pictures import LARGEST, drawn, small

REFRESH = 0.1  # seconds between updates without a picture


class LiveProgress:
    """total: NFE of the whole search, all samples of the batch. shows: takes pictures of running samples in the node's place, where a
    panel shows all that follows, and the text too."""

    def __init__(self, node_id: str | None, total: int, shows: Callable[[Image.Image], None] | None = None):
        self.node_id, self.total, self.shows = node_id, total, shows
        self.bar = comfy.utils.ProgressBar(total, node_id=node_id)
        self.shown = 0.0

    def advance(self, nfe: int) -> None:
        now = time.monotonic()
        if now - self.shown >= REFRESH:
            self.shown = now
            self.bar.update_absolute(nfe, self.total)

    def best(self, nfe: int, text: str, image: torch.Tensor | None) -> None:
        """image: [1, (T,) H, W, C] in [0, 1]."""
        picture = None if image is None or self.shows else ("JPEG", drawn(small(image[0])), LARGEST)
        self.bar.update_absolute(nfe, self.total, picture)
        self.say(text)

    def glance(self, nfe: int, picture: Picture) -> None:
        """A running sample, as ComfyUI's previewer shows it."""
        if self.shows and isinstance(picture[1], Image.Image):
            self.shows(picture[1])
        else:
            self.bar.update_absolute(nfe, self.total, picture)

    def say(self, text: str) -> None:
        running = server()
        if running is not None and self.node_id is not None and not self.shows:
            readable = text.encode("utf-8", "replace").decode()  # lone surrogates
            # to whoever queued it, not to every tab
            running.send_progress_text(readable, self.node_id, running.client_id)


def announce(node_id: str | None, run: str) -> None:
    """Tell the client that queued the graph the id by which its search can be stopped."""
    running = server()
    if running is not None and node_id is not None and running.client_id is not None:
        said = {"run": run, "node": node_id, "prompt": getattr(running, "last_prompt_id", None)}
        running.send_sync("noise_search.run", said, running.client_id)


def server() -> Any:
    """ComfyUI's server; None where nodes run without one."""
    running = sys.modules.get("server")
    return getattr(running.PromptServer, "instance", None) if running else None
