"""What `comfy node publish` would upload: nothing that the registry's scanner rejects, all that a user needs, nothing else."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE = (".py", ".js")
TEXT = (*CODE, ".json", ".md", ".toml", ".txt", "")

# name: (what to look for, in which files). The scanner greps: a comment or a text is as bad as a call.
REJECTED = {
    "a network call": (r"\.(connect|bind|send|sendall)\s*\(", TEXT),
    "a network client": (
        r"^[ \t]*(import|from)\s+(aiohttp|ftplib|http|httpx|requests|smtplib|socket|urllib|urllib3|websockets?)\b|\b(aiohttp|urllib|requests|httpx)\.\w+",
        CODE,
    ),
    "a browser's network client": (r"\bfetch\s*\(|XMLHttpRequest|new\s+(WebSocket|EventSource)\b", (".js",)),
    "a URL in code": (r"\b(https?|ftp|wss?)://", CODE),
    "the environment": (r"\bos\s*\.\s*(environ|getenv|putenv)\b|\bimport\s+environ\b", TEXT),
    "another process": (r"\bsubprocess\b|\bos\.(system|popen|exec[lv]\w*|spawn\w+)\b", TEXT),
    "code from text": (r"(?<![\w.])(eval|exec|compile)\s*\(|\.eval\s*\(|new\s+Function\b", CODE),
    "a module by name": (r"__import__|\bimport_module\b", CODE),
    "pickle": (
        r"^[ \t]*(import|from)\s+(c?[Pp]ickle|dill|marshal|shelve|joblib)\b|\b(c?[Pp]ickle|dill|marshal|shelve|joblib)\.\w+",
        CODE,
    ),
    "a load that unpickles": (r"\btorch\.load\((?![^)]*weights_only=True)|allow_pickle\s*=\s*True", CODE),
    "a package from a URL": (r"(@|git\+)\s*(https?|git|ssh|file)://|\.whl\b", (".toml", ".txt")),
}
FOLDERS = {
    "demo",
    "example_workflows",
    "locales",
    "models",
    "nodes",
    "sampling",
    "search",
    "session",
    "verifiers",
    "web",
}
FILES = {
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "README.zh-CN.md",
    "SECURITY.md",
    "__init__.py",
    "compat.py",
    "untrusted.py",
    "pyproject.toml",
}


def zipped(folder, monkeypatch, target):
    """{path: bytes} of comfy-cli's own zip of a git working tree."""
    file_utils = pytest.importorskip(
        "comfy_cli.file_utils", reason="comfy-cli is not installed: it makes the zip"
    )
    monkeypatch.chdir(folder)
    file_utils.zip_files(str(target))
    with zipfile.ZipFile(target) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rejections(files):
    """(path, line, what) for everything in {path: bytes} that the registry's scanner is known to reject."""
    return [
        (path, content[: match.start()].count("\n") + 1, what)
        for path, content in (
            (path, data.decode("utf-8")) for path, data in sorted(files.items()) if Path(path).suffix in TEXT
        )
        for what, (pattern, suffixes) in REJECTED.items()
        if Path(path).suffix in suffixes
        for match in re.finditer(pattern, content, re.MULTILINE)
    ]


@pytest.fixture
def published(monkeypatch, tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what is published is what git tracks")
    return zipped(ROOT, monkeypatch, tmp_path / "node.zip")


def test_nothing_published_is_rejected(published):
    assert sum(path.endswith(".py") for path in published) > 20
    assert rejections(published) == []


def test_the_right_files_are_published(published):
    assert {path.split("/")[0] for path in published} == FOLDERS | FILES
    assert {"web/docs/NoiseSearchLoadVerifier.md", "nodes/__init__.py"} <= set(published)
    assert sum(map(len, published.values())) < 32 * 2**20


BAD = {
    "a network call": "panel.js: button.onclick = this.click.bind(this)",
    "a network client": "net.py: from urllib.request import urlopen",
    "a browser's network client": "get.js: await fetch(address)",
    "a URL in code": "url.py: HOME = 'https://example.org'",
    "the environment": "env.py: import os; os.environ['A']",
    "another process": "run.py: import subprocess",
    "code from text": "model.py: model.eval()",
    "a module by name": "dyn.py: from importlib import import_module",
    "pickle": "load.py: import pickle",
    "a load that unpickles": "torch_load.py: torch.load(path, map_location='cpu')",
    "a package from a URL": "pyproject.toml: dependencies = ['a @ https://example.org/a.zip']",
}


@pytest.mark.parametrize("what", REJECTED)
def test_a_planted_bad_file_is_caught(what, monkeypatch, tmp_path):
    name, line = BAD[what].split(": ", 1)
    repository = tmp_path / "repository"
    for path in (f"room/{name}", f"tests/{name}"):
        (repository / path).parent.mkdir(parents=True)
        (repository / path).write_text(f"\n{line}\n")
    (repository / ".comfyignore").write_text("tests/\n")
    (repository / f"room/untracked-{name}").write_text(line)
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    subprocess.run(["git", "add", "tests", f"room/{name}", ".comfyignore"], cwd=repository, check=True)
    assert rejections(zipped(repository, monkeypatch, tmp_path / "node.zip")) == [(f"room/{name}", 2, what)]


def test_what_looks_alike_passes():
    harmless = "re.compile('a')\nmodel.train(False)\ntorch.load(path, weights_only=True)\nself.evaluate(x)\nfrom ..search.requests_of import x\nevaluation = 1\n"
    assert (
        rejections(
            {
                "a.py": harmless.encode(),
                "README.md": b"See https://example.org, and connect the verifier socket.",
                "b.json": b'{"url": "https://x.org"}',
            }
        )
        == []
    )


def test_comfy_node_validate_is_clean(tmp_path):
    pytest.importorskip("comfy_cli", reason="comfy-cli is not installed")
    home = {
        "HOME": str(tmp_path),
        "USERPROFILE": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
    }  # it writes its settings there
    command = [
        sys.executable,
        "-m",
        "comfy_cli",
        "--skip-prompt",
        "--no-enable-telemetry",
        "node",
        "validate",
    ]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **home}, capture_output=True, text=True, timeout=120
    )
    said = run.stdout + run.stderr
    assert run.returncode == 0 and "All validation checks passed" in said and "warning" not in said.lower(), (
        said
    )


def test_the_registry_reads_what_we_mean():
    parser = pytest.importorskip("comfy_cli.registry.config_parser", reason="comfy-cli is not installed")
    config = parser.extract_node_configuration(str(ROOT / "pyproject.toml"))
    project, comfy = config.project, config.tool_comfy
    assert (project.name, comfy.display_name, comfy.publisher_id) == (
        "noise-search",
        "NoiseSearch",
        "noisesearch",
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+", project.version) and f"## [{project.version}]" in (
        ROOT / "CHANGELOG.md"
    ).read_text("utf-8")
    assert (project.supported_comfyui_version, project.supported_comfyui_frontend_version) == (
        ">=0.3.64",
        ">=1.27.10",
    )
    assert (
        project.dependencies == []
        and project.license.text == "GPL-3.0-or-later"
        and project.urls.repository.startswith("https://")
    )


def test_ruff_is_clean():
    pytest.importorskip("ruff", reason="ruff is not installed")
    run = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--output-format", "concise", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout
