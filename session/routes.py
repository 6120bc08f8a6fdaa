"""The routes of the pack, both POST, JSON out. /noise_search/stop touches no file; /noise_search/clear_journal takes nothing, and empties
the pack's own journal."""

from __future__ import annotations

import json
import sys
from typing import Any

from .carry import on_prompt
from .journaling import clear_journal
from .progress import server
from .stop import stop

PATH, CLEAR = "/noise_search/stop", "/noise_search/clear_journal"
LARGEST = 4096  # bytes of a request


def register() -> None:
    """Add the routes to ComfyUI's server, where there is one, and hear of prompts that are queued. Call it once, while packs are loaded."""
    instance = server()
    if instance is None:
        return
    web = sys.modules["server"].web  # ComfyUI's own
    instance.add_on_prompt_handler(on_prompt)

    @instance.routes.post(PATH)
    async def stop_and_keep_best(request: Any) -> Any:
        """{"run": id} -> {"stopped": n}; 404 for an id that is not running, and for all else."""
        body = await request.content.read(LARGEST + 1)
        try:
            data = json.loads(body) if len(body) <= LARGEST else None
        except (ValueError, RecursionError):
            data = None
        stopped = stop(data.get("run")) if isinstance(data, dict) else 0
        if not stopped:
            return web.json_response({"error": "no search with this id is running"}, status=404)
        return web.json_response({"stopped": stopped})

    @instance.routes.post(CLEAR)
    async def clear_search_journal(request: Any) -> Any:
        """{"said": what happened}."""
        return web.json_response({"said": clear_journal()})
