"""SECURITY.md is a contract: every line has its test, and its lists are complete."""

import ast
import re
import socket
from pathlib import Path

import pytest

from noisesearch.nodes.candidates import NoiseSearchScoreImages
from noisesearch.verifiers.catalogue import SCORERS, load_verifier
from verifier_helpers import images

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = (ROOT / "SECURITY.md").read_text("utf-8")
ROOMS = ("demo", "nodes", "sampling", "search", "session", "verifiers")
PUBLISHED = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
PUBLISHED += [ROOT / name for name in ("__init__.py", "compat.py", "untrusted.py")]
# What writes, moves or removes a file, by the name it is called by.
WRITERS = {
    "mkdir",
    "makedirs",
    "mkdtemp",
    "replace",
    "rename",
    "rmtree",
    "save",
    "save_file",
    "savez",
    "touch",
}
WRITERS |= {"unlink", "write_bytes", "write_text", "NamedTemporaryFile", "Connection", "connect", "dump"}


def lines():
    return [line for line in CONTRACT.splitlines() if line.startswith("- ")]


def test_every_line_names_a_test_that_is_there():
    assert len(lines()) >= 15
    for line in lines():
        (file, name), *more = re.findall(r"`(tests/\w+\.py)::(\w+)`", line)
        assert not more and re.search(rf"^def {name}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE), line


def test_the_routes_are_those_of_the_contract():
    source = "\n".join(file.read_text("utf-8") for file in PUBLISHED)
    registered = len(re.findall(r"\.routes\.\w+\(|\.add_(?:route|get|post|put|static|routes)\(", source))
    assert re.findall(r"routes\.(\w+)\(", source) == ["post", "post"] and registered == 2
    routes = re.findall(r"^- `(/\S+)`", CONTRACT, re.MULTILINE)
    assert sorted(routes) == sorted(set(re.findall(r'"(/noise_search/\w+)"', source)))


def writing(source: str) -> set[str]:
    """The names by which a file writes something."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    found = set()
    for call in calls:
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if name == "open":
            modes = [
                arg.value
                for arg in (*call.args, *(k.value for k in call.keywords))
                if isinstance(arg, ast.Constant)
            ]
            found |= (
                {"open"}
                if any(isinstance(mode, str) and re.fullmatch(r"[wax]b?\+?|r\+b?", mode) for mode in modes)
                else set()
            )
        elif name == "replace" and isinstance(call.func, ast.Attribute):
            found |= {"os.replace"} if ast.unparse(call.func.value) == "os" else set()
        elif name in WRITERS - {"replace"}:
            found.add(name)
    return found


def test_the_files_that_write_are_those_of_the_contract():
    wrote = {
        str(file.relative_to(ROOT)): names
        for file in PUBLISHED
        if (names := writing(file.read_text("utf-8")))
    }
    assert set(wrote) == {"search/journal.py", "session/pictures.py"}, wrote


@pytest.mark.parametrize(
    "planted",
    ["open(name, 'w')", "path.write_text('x')", "os.replace(a, b)", "torch.save(a, b)", "p.open('ab')"],
)
def test_a_planted_write_is_seen(planted):
    assert writing(planted)


@pytest.mark.parametrize(
    "harmless", ["text.replace('a', 'b')", "open(name)", "open(name, 'rb')", "dataclasses.replace(a, b=1)"]
)
def test_what_looks_alike_is_not_a_write(harmless):
    assert writing(harmless) == set()


def test_a_search_opens_no_connection(monkeypatch):
    """Judging from a file to the report, with every way out of the machine closed."""

    def refuse(*_):
        raise AssertionError("a connection was opened")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    judge = load_verifier("image quality (BRISQUE)")
    report = NoiseSearchScoreImages.execute([images(3)], [judge], [""], [0], [-1e6]).result[-1]
    assert sorted(report["order"]) == [0, 1, 2]
    with pytest.raises(AssertionError, match="a connection was opened"):
        socket.create_connection(("localhost", 9))


def test_only_the_packaged_scorer_runs_foreign_code():
    foreign = [
        file.name
        for file in PUBLISHED
        if re.search(r"^\s*(?:import|from) ImageReward", file.read_text("utf-8"), re.MULTILINE)
    ]
    assert foreign == ["image_reward_package.py"]
    assert [name for name in SCORERS if "package" in name] == ["ImageReward (package)"]
    assert next(iter(SCORERS)) == "ImageReward"
