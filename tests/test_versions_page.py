"""tools/versions.py: what it makes of results, and that docs/versions.md has a row for the versions that we speak of."""

import copy
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

import bootstrap
import versions
from test_versions import OLDEST, RECORDED

ROOT = Path(__file__).resolve().parent.parent
JUNIT = """<testsuites><testsuite>
<testcase classname="tests.test_a" name="one"/>
<testcase classname="tests.test_a" name="two"><skipped message="no such node"/></testcase>
<testcase classname="tests.test_a" name="three"><skipped message="no such node"/></testcase>
<testcase classname="tests.test_b" name="four"><failure message="AssertionError: 3&#10;more"/></testcase>
<testcase classname="tests.test_b" name="five"><error message="it broke"/></testcase>
</testsuite></testsuites>"""


def tried(version="0.3.75"):
    report = {"images": [{"winner": {"id": 1}, "search_nfe": 80, "candidates": [[10, [0.5]]]}]}
    scenario = {"10": report, "14": {"node": "SaveImage", "pictures": ["64x64 a"]}}
    return {
        "tests": {"commit": "abc1234", "passed": 5, "skipped": {}, "failed": {}},
        "scenarios": {
            "commit": "abc1234",
            "machine": {"torch": "2", "comfyui": version},
            "workflows": {"demo": scenario, "paths": copy.deepcopy(scenario)},
            "left_out": {},
            "examples": {"demo": "", "large": "opens; to run, it needs a.safetensors"},
        },
    }


@pytest.fixture
def two():
    """Two versions that give the same."""
    return {"0.10.0": tried("0.10.0"), "0.3.75": tried()}


def test_outcomes_of_a_run():
    assert versions.outcomes(ElementTree.parse(io.StringIO(JUNIT))) == {
        "passed": 1,
        "skipped": {"no such node": 2},
        "failed": {"test_b::four": "AssertionError: 3", "test_b::five": "it broke"},
    }


def test_a_table_of_versions_that_agree(two):
    page = versions.page(two)
    first, second = page.splitlines()[2:4]
    assert first == "| 0.3.75 | 5 passed | 2 |  |  | 1 ran, 1 opened |"
    assert second == "| 0.10.0 | 5 passed | 2 | 2 of 2 | 2 of 2 | 1 ran, 1 opened |"
    assert page.splitlines()[5:] == [
        "- All: opened but not run, for want of their models: `large`.",
        "- All: torch 2 on a CPU, NoiseSearch at commit abc1234.",
    ]


CHANGES = [
    (lambda s: s["14"].update(pictures=["64x64 b"]), "2 of 2 | 1 of 2", "only the pixels differ"),
    (lambda s: s["10"]["images"][0]["winner"].update(id=2), "1 of 2 | 1 of 2", "other winners at the same cost"),
    (lambda s: s["10"]["images"][0].update(search_nfe=81), "1 of 2 | 1 of 2", "another cost"),
]  # fmt: skip


@pytest.mark.parametrize("change, cells, said", CHANGES)
def test_a_version_that_does_not_agree_says_where(change, cells, said, two):
    change(two["0.10.0"]["scenarios"]["workflows"]["paths"])
    page = versions.page(two)
    assert f"| 0.10.0 | 5 passed | 2 | {cells} |" in page
    assert re.search(rf"^- 0\.10\.0: {said}.*: `paths`\.$", page, re.MULTILINE)


def test_what_failed_or_was_left_out_is_told(two):
    one = two["0.10.0"]
    one["tests"] |= {"passed": 3, "skipped": {"no node": 2}, "failed": {"test_b::four": "it broke"}}
    one["scenarios"]["workflows"].pop("paths")
    one["scenarios"]["left_out"]["paths"] = "no node"
    one["scenarios"]["examples"]["demo"] = "HTTP 400"
    page = versions.page(two)
    assert (
        "| 0.10.0 | 3 passed, 1 **failed**, 2 skipped | 1 | 1 of 1 | 1 of 1 | 1 **failed**, 1 opened |"
        in page
    )
    for said in ("`paths` was not tried: no node.", "2 skipped: no node.", "the example `demo`: HTTP 400."):
        assert f"- 0.10.0: {said}" in page
    assert "- 0.10.0: **failed**: `test_b::four`: it broke." in page


def test_the_core_tests_are_there():
    assert [core for core in versions.CORE if not (ROOT / f"tests/test_{core}.py").is_file()] == []


def test_writing_replaces_the_table_only(tmp_path, monkeypatch):
    page = tmp_path / "versions.md"
    page.write_text(f"before\n{versions.BEGIN}old\n{versions.END}\nafter\n", "utf-8")
    monkeypatch.setattr(versions, "PAGE", page)
    versions.write("new\n")
    assert page.read_text("utf-8") == f"before\n{versions.BEGIN}new\n{versions.END}\nafter\n"


def test_the_page_has_the_versions_that_we_speak_of():
    text = versions.PAGE.read_text("utf-8")
    rows = re.findall(r"^\| (\d\S+) \|", text, re.MULTILINE)
    assert {OLDEST, bootstrap.COMFYUI_VERSION, *RECORDED} <= set(rows)
    assert rows == sorted(rows, key=versions._age)
    assert "(docs/versions.md)" in (ROOT / "README.md").read_text("utf-8")
