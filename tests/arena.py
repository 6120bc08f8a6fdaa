"""A ComfyUI server for prompts that may kill it: what became of each, and whether it still works afterwards. Standard library only."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from comfy_server import ComfyServer, base_directory

PATIENCE = 15.0  # seconds that one prompt may take
ALIVE = 2.0  # seconds in which a trivial prompt must have run
LONGEST = 10_000  # characters of a message
STRANGERS = Path(__file__).resolve().parent / "hostile_pack"
STANDS_IN = STRANGERS.parent.parent / "testing" / "stand_in_vlm.py"


@dataclass(frozen=True)
class Ended:
    """How a prompt ended: as success or error, or it was refused; what was said of it by us; what it showed."""

    status: str
    said: list[str]
    shown: dict
    http: int = 200

    @property
    def fault(self) -> str:
        if self.http not in (200, 400):
            return f"queueing it gives HTTP {self.http}"
        for text in self.said:
            if len(text) > LONGEST:
                return f"its message has {len(text)} characters"
            if any("\ud800" <= letter <= "\udfff" for letter in text):
                return "its message cannot be encoded"
        try:
            json.loads(json.dumps(self.shown), parse_constant=_unreadable)
        except ValueError as error:
            return str(error)
        return ""


class Arena:
    """One server with the pack and the pack of strangers; started anew after a prompt that it did not survive."""

    def __init__(self, comfyui, folder: Path):
        self.folder, self.comfyui, self.count = folder, comfyui, itertools.count()
        self.base = base_directory(folder / "base")
        shutil.copytree(STRANGERS, self.base / "custom_nodes" / "strangers")
        shutil.copy(STANDS_IN, self.base / "custom_nodes" / "strangers")
        self.server = self.line = None
        self.start()

    def start(self):
        self.stop()
        log = self.folder / f"server{next(self.count)}.log"
        self.server = ComfyServer(self.comfyui, self.base, log=log).start()
        self.line = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)

    def stop(self):
        if self.server:
            self.line.close()
            self.server.stop()

    def fault(self, prompt: dict) -> str:
        """What is wrong with how a prompt ended, or with the server after it; "" when all is well."""
        try:
            ended = self.run(prompt)
            fault = ended.fault if ended else f"it runs for more than {PATIENCE:g} s"
        except BROKEN as error:
            fault = f"the server broke the connection ({error!r})"
        return ", and ".join(filter(None, (fault, self._afterwards())))

    def run(self, prompt: dict) -> Ended | None:
        """How a prompt ended; None when it did not within the time that is given it."""
        status, reply = self._request("POST", "/prompt", {"prompt": prompt})
        if status != 200:
            return Ended("refused", _refusals(reply), {}, status)
        entry = self._history(reply["prompt_id"], PATIENCE)
        if entry is None:
            return None
        errors = [data for event, data in entry["status"]["messages"] if event == "execution_error"]
        return Ended(
            entry["status"]["status_str"], [data["exception_message"] for data in errors], entry["outputs"]
        )

    def _afterwards(self):
        """What is wrong with the server. Where the machine is busy with other things, only its own work counts."""
        seconds, work = self._trivial()
        if seconds is None:
            self.start()
            return "the worker no longer answers"
        if seconds > ALIVE and (work is None or work > ALIVE / 2 or seconds > 5 * ALIVE):
            return f"the worker answers only after {seconds:.1f} s"
        return ""

    def _trivial(self):
        """Seconds until a trivial prompt has run (None when it does not), and how long the server has worked in them (None if unknown)."""
        began, work = time.monotonic(), self._work()
        colour = next(self.count)  # never one that is cached
        size = {"width": 8, "height": 8, "batch_size": 1}
        prompt = {
            "1": {"class_type": "EmptyImage", "inputs": {**size, "color": colour}},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        }
        try:
            self._request("POST", "/interrupt", {})  # of what still runs
            ended = self.run(prompt) or self.run(prompt)
        except BROKEN:
            return None, None
        if ended is None or ended.status != "success":
            return None, None
        return time.monotonic() - began, None if work is None else self._work() - work

    def _work(self):
        """Processor seconds of the server; None where the system does not say."""
        stat = Path(f"/proc/{self.server.process.pid}/stat")
        if not stat.exists():
            return None
        fields = stat.read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _history(self, prompt_id, seconds):
        """The history entry of a prompt; None when there is none within the time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            _, history = self._request("GET", f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]
            time.sleep(0.004)
        return None

    def _request(self, method, path, body=None):
        content = None if body is None else json.dumps(body).encode()
        try:
            self.line.request(method, path, content, {"Content-Type": "application/json"})
            reply = self.line.getresponse()
            text = reply.read()
        except BROKEN:
            self.line.close()  # the next request opens it again
            raise
        return reply.status, json.loads(text) if text.startswith(b"{") else {}


BROKEN = (OSError, http.client.HTTPException, ValueError)


def _refusals(reply):
    """Our own messages in a refusal: what ComfyUI says itself of a value may be as long as the value."""
    errors = [error for node in (reply.get("node_errors") or {}).values() for error in node["errors"]]
    return [
        error["details"]
        for error in errors
        if error["type"] in ("custom_validation_failed", "exception_during_validation")
    ]


def _unreadable(constant):
    raise ValueError(f"the result holds {constant}, which no browser reads")
