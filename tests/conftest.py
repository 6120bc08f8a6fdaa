"""One ComfyUI for all tests: in this process (on the CPU, one thread), and one real server for those that ask for it."""

import os
import sys
from pathlib import Path

import hypothesis
import photos
import pytest

from comfy_server import ComfyServer, base_directory, needed
from pack import use_comfyui

ROOT = Path(__file__).resolve().parent.parent
COMFYUI = Path(os.environ.get("NOISESEARCH_COMFYUI", ROOT / ".comfyui" / "ComfyUI"))

if not (COMFYUI / "main.py").is_file():
    pytest.exit(
        f"no ComfyUI at {COMFYUI}: run the tests with `python tools/dev.py test`, or set NOISESEARCH_COMFYUI to its folder",
        3,
    )

# In CI a commit is judged by the same examples every time; at home they are new ones on every run.
hypothesis.settings.register_profile("reproducible", derandomize=True, database=None)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("reproducible")

use_comfyui(COMFYUI)
pytest.register_assert_rewrite("search_contract", "verifier_contract")

try:
    import utils.extra_config  # noqa: E402, F401  (before comfy/utils.py gets in its way, as ComfyUI's main.py does)

    import comfy.sd  # noqa: E402, F401  (what all else of ComfyUI hangs on)
except ModuleNotFoundError as error:
    pytest.exit(needed(error.name, sys.executable), 3)

import torch  # noqa: E402  (after use_comfyui: ComfyUI sets torch up)

torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Tests that need the server come last: a broken unit shows before the server is waited for."""
    items.sort(key=lambda item: "server" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def comfyui():
    """The folder of the ComfyUI under test."""
    return COMFYUI


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A running ComfyUI server with the pack, in a base directory of its own; `ComfyServer` says what it can do."""
    folder = tmp_path_factory.mktemp("comfyui")
    base = base_directory(
        folder / "base", journal=False
    )  # tests run the same graphs, and look at what they cost
    photos.fill(base / "input")
    with ComfyServer(COMFYUI, base, log=folder / "server.log") as running:
        yield running


@pytest.fixture(scope="session")
def object_info(server):
    """The server's definition of every node."""
    return server.object_info()
