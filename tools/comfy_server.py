"""Start a headless ComfyUI server that has this pack, and talk to its HTTP API. Standard library only.

>>> with ComfyServer(comfyui, base_directory("somewhere"), log="server.log") as server:
...     entry = server.run(api_prompt)          # waits; raises ServerError with the node's own message
...     pictures = server.images(entry)         # {node id: [file bytes]}
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACK = "noise-search"  # the folder that ComfyUI-Manager and the registry install into
HEADLESS = ("--disable-auto-launch", "--disable-api-nodes", "--database-url", "sqlite:///:memory:")


class ServerError(RuntimeError):
    """The server refused or failed; the message says what it said."""


def needed(package: str, python) -> str:
    """A sentence about a package that ComfyUI itself imports and does not find."""
    return f"ComfyUI needs the package {package}, which is not there. {python} -m pip install {package}"


def free_port(preferred: int = 0) -> int:
    """`preferred` if nobody listens there, or any free port of this machine."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise ServerError("there is no free port on 127.0.0.1")


def link_folder(link: Path, target: Path) -> None:
    """A symbolic link to a folder; on Windows a junction, which needs no special rights."""
    if link.exists() and link.samefile(target):
        return
    if os.path.lexists(link):
        raise FileExistsError(f"{link} is there but is not a link to {target}; move it away and run again")
    link.parent.mkdir(parents=True, exist_ok=True)
    if os.name == "nt":
        subprocess.run(
            ["cmd", "/c", "mklink", "/J", str(link), str(target)], check=True, stdout=subprocess.DEVNULL
        )
    else:
        link.symlink_to(target, target_is_directory=True)


def base_directory(path: Path | str, pack: Path = ROOT, journal: bool = True) -> Path:
    """The folder as a ComfyUI base directory (models, input, output, custom_nodes, ...) with the pack linked into it: this one, or another checkout.

    journal: False where every search must pay for itself, as in comparisons of what searches cost.
    """
    base = Path(path).absolute()
    for name in ("custom_nodes", "input", "models", "output", "temp", "user"):
        (base / name).mkdir(parents=True, exist_ok=True)
    link_folder(base / "custom_nodes" / PACK, Path(pack).absolute())
    if not journal:
        settings = base / "user" / "default" / "comfy.settings.json"
        settings.parent.mkdir(exist_ok=True)
        settings.write_text(json.dumps({"NoiseSearch.Journal.Enabled": False}), encoding="utf-8")
    return base


class ComfyServer:
    """One ComfyUI server process on this machine.

    comfyui: the folder with main.py. base: see `base_directory`; None = ComfyUI's own folders.
    python: the interpreter that has ComfyUI's packages. port: 0 = any free one. cpu: run without a GPU.
    log: file for its output; None = this process's own output. arguments: more of main.py's.
    """

    def __init__(
        self, comfyui, base=None, *, python=sys.executable, port=0, cpu=True, log=None, arguments=()
    ):
        self.log = Path(log) if log else None
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None
        self._command = [str(python), str(Path(comfyui) / "main.py"), "--port", str(self.port), *HEADLESS]
        self._command += ["--cpu"] if cpu else []
        self._command += ["--base-directory", str(base)] if base else []
        self._command += arguments
        # No proxy: the server is on this machine, whatever http_proxy says.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> ComfyServer:
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()

    # -- process

    def start(self, timeout: float = 180) -> ComfyServer:
        """Start it and wait until it answers; ServerError with the end of its log when it does not."""
        output = self.log.open("wb") if self.log else None
        try:
            environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONUNBUFFERED": "1"}
            self.process = subprocess.Popen(
                self._command, stdout=output, stderr=subprocess.STDOUT if output else None, env=environment
            )
        finally:
            if output:
                output.close()
        deadline = time.monotonic() + timeout
        try:
            while not self._answers():
                self._check_alive()
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"ComfyUI did not answer at {self.url} within {timeout:g} s{self.tail()}"
                    )
                time.sleep(0.1)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the process; fine when it has ended already."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def tail(self, lines: int = 40) -> str:
        """The end of the log, ready to be appended to an error message."""
        if self.log is None or not self.log.exists():
            return ""
        return "\n--- end of the server's log ---\n" + "\n".join(
            self.log.read_text("utf-8", "replace").splitlines()[-lines:]
        )

    def _answers(self) -> bool:
        try:
            self.get("/system_stats")
        except (OSError, ServerError):
            return False
        return True

    def _check_alive(self) -> None:
        if self.process is None or self.process.poll() is not None:
            code = (
                "was never started" if self.process is None else f"ended with code {self.process.returncode}"
            )
            raise ServerError(f"the ComfyUI server {code}{self._lack()}{self.tail()}")

    def _lack(self) -> str:
        """What to install, when it ended for want of a package (ComfyUI 0.25 and later need torchaudio, for one)."""
        text = self.log.read_text("utf-8", "replace") if self.log and self.log.exists() else ""
        found = re.findall(r"^ModuleNotFoundError: No module named '([\w]+)", text, re.MULTILINE)
        return f": {needed(found[-1], self._command[0])}" if found else ""

    # -- HTTP

    def get(self, path: str, raw: bool = False):
        """The JSON (or the bytes) at a path of the server."""
        return self._request(path, None, raw)

    def post(self, path: str, body: dict):
        """What the server answers to a JSON body; None when the answer is empty."""
        return self._request(path, json.dumps(body).encode(), False)

    def _request(self, path, data, raw):
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"} if data else {}
        )
        try:
            with self._opener.open(request, timeout=60) as reply:
                content = reply.read()
        except urllib.error.HTTPError as error:
            raise ServerError(f"{path}: HTTP {error.code}: {_refusal(error.read())}") from error
        return content if raw else (json.loads(content) if content else None)

    # -- prompts

    def object_info(self) -> dict:
        """Every node's definition: {node type: {"input", "input_order", "output", ...}}."""
        return self.get("/object_info")

    def queue(self, prompt: dict, workflow: dict | None = None) -> str:
        """Queue a prompt in API format and return its id. `workflow`: the UI graph that saved images shall embed."""
        extra = {"extra_pnginfo": {"workflow": workflow}} if workflow else {}
        return self.post("/prompt", {"prompt": prompt, "extra_data": extra, "client_id": uuid.uuid4().hex})[
            "prompt_id"
        ]

    def wait(self, prompt_id: str, timeout: float = 600) -> dict:
        """The history entry ({"outputs", "status", ...}) of a queued prompt once it has run; ServerError when it failed."""
        deadline = time.monotonic() + timeout
        while prompt_id not in (history := self.get(f"/history/{prompt_id}")):
            self._check_alive()
            if time.monotonic() > deadline:
                raise ServerError(f"the prompt did not finish within {timeout:g} s{self.tail()}")
            time.sleep(0.05)
        entry = history[prompt_id]
        if entry["status"]["status_str"] != "success":
            raise ServerError(_failure(entry) + self.tail())
        return entry

    def run(self, prompt: dict, workflow: dict | None = None, timeout: float = 600) -> dict:
        """Queue a prompt and wait for its history entry."""
        return self.wait(self.queue(prompt, workflow), timeout)

    def interrupt(self) -> None:
        """Cancel what is running, as the Cancel button does."""
        self.post("/interrupt", {})

    def images(self, entry: dict) -> dict[str, list[bytes]]:
        """The image files that each output node of a history entry saved or previewed, in order."""

        def fetch(image):
            return self.get(
                "/view?"
                + urllib.parse.urlencode({key: image[key] for key in ("filename", "subfolder", "type")}),
                raw=True,
            )

        return {
            node: [fetch(image) for image in output["images"]]
            for node, output in entry["outputs"].items()
            if output.get("images")
        }


def _refusal(content: bytes) -> str:
    """What a 400 of /prompt says, node by node; any other body as it is."""
    try:
        reply = json.loads(content)
        lines = [f"{reply['error']['message']} {reply['error']['details']}".strip()]
    except (ValueError, TypeError, KeyError):
        return content.decode("utf-8", "replace")[:2000]
    for node, problem in (reply.get("node_errors") or {}).items():
        lines += [
            f"node {node} ({problem['class_type']}): {error['message']}: {error['details']}"
            for error in problem["errors"]
        ]
    return "\n".join(lines)


def _failure(entry: dict) -> str:
    """Why a prompt did not succeed, from the messages of its history entry."""
    for event, data in entry["status"]["messages"]:
        if event == "execution_error":
            return f"node {data['node_id']} ({data['node_type']}) raised {data['exception_type']}: {data['exception_message']}"
        if event == "execution_interrupted":
            return f"interrupted at node {data['node_id']} ({data['node_type']})"
    return f"the prompt ended as {entry['status']['status_str']!r}"
