"""What the suite `browser` needs besides: a Chromium, and front ends of other versions than the one that is installed. Standard library only."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from bootstrap import ROOT, SetupError, say

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PACKAGE = "comfyui-frontend-package"
CACHE = ROOT / ".cache" / "front_ends"
OLDEST = "1.27.10"  # the floor that pyproject.toml names
ADVICE = "Install one: apt-get install chromium (Debian, Ubuntu), or your system's Chromium or Chrome."


def chromium() -> Path | None:
    """The Chromium or Chrome of this machine."""
    found = [shutil.which(name) for name in NAMES]
    return next((Path(path) for path in found if path), None)


def required() -> bool:
    """Whether a machine without a browser fails the suite rather than skipping it."""
    return os.environ.get("NOISESEARCH_BROWSER") == "required"


def prepare() -> None:
    """See that there is a Chromium: in CI, where we may, Debian's is installed. Without one the suite skips its tests and says why;
    where a browser is required, SetupError says what to do."""
    if chromium():
        return
    if os.environ.get("CI") and shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        say("installing Debian's chromium, for the suite `browser`")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "chromium"]):
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(["apt-get", *command], env=quiet, stdout=subprocess.DEVNULL, timeout=150)
    if not chromium():
        without = f"the suite `browser` needs a Chromium, and there is none. {ADVICE}"
        if required():
            raise SetupError(without)
        say(f"{without} Its tests are skipped.")


def front_end(version: str) -> Path:
    """The folder of a front end, for ComfyUI's --front-end-root; "newest" is the newest on the package index. Kept in the cache.

    SetupError where it cannot be had.
    """
    if version != "newest" and (CACHE / version / "index.html").is_file():
        return CACHE / version
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        wanted = PACKAGE if version == "newest" else f"{PACKAGE}=={version}"
        wheel = _download(wanted, Path(folder))
        target = CACHE / wheel.name.split("-")[1]
        if not (target / "index.html").is_file():
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
            _take_place(Path(folder) / "comfyui_frontend_package" / "static", target)
    return target


def _take_place(made: Path, target: Path) -> None:
    """In one step, and the first of several processes that make the same one wins."""
    try:
        made.rename(target)
    except OSError:
        if not (target / "index.html").is_file():
            raise


def _download(wanted: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--no-deps"]
    run = subprocess.run([*command, "--dest", str(folder), wanted], capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if run.returncode or not wheels:
        raise SetupError(f"the front end {wanted} could not be downloaded: {run.stderr.strip()[-400:]}")
    return wheels[0]
