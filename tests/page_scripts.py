"""The page's scripts in node, without a page: what they do to graphs and to what is known of searches."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def told_by(story: str, folder: Path):
    """What tests/STORY.mjs prints as JSON. It finds ours in ./extensions/noise-search, and ComfyUI's app and api are globals that it makes."""
    node = shutil.which("node")
    if node is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("node is not installed")
    ours = folder / "extensions" / "noise-search"
    shutil.copytree(ROOT / "web", ours, ignore=shutil.ignore_patterns("docs"))
    (folder / "scripts").mkdir()
    for name in ("app", "api"):
        (folder / "scripts" / f"{name}.js").write_text(f"export const {name} = globalThis.{name};\n")
    (folder / "package.json").write_text('{"type": "module"}')
    shutil.copy(ROOT / "tests" / f"{story}.mjs", folder)
    run = subprocess.run(
        [node, str(folder / f"{story}.mjs")], capture_output=True, text=True, encoding="utf-8", timeout=60
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)
