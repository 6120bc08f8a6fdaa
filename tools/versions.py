"""Try the pack on other ComfyUIs, and make the table of docs/versions.md.

    .venv/bin/python tools/versions.py [NAME=]PATH ...             the core tests and the scenarios on each, then the table of all that were tried
    .venv/bin/python tools/versions.py --only scenarios PATH       or --only tests: a part again
    .venv/bin/python tools/versions.py --write                     the table into docs/versions.md

Each PATH is a ComfyUI's folder, used with the Python beside it as `make test ARGS="--comfyui PATH"` does. NAME is its version where
none is given. What was measured is kept in output/versions.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

from bootstrap import ROOT, SetupError, say, users_place, version_of
from winners import differences

KEPT = ROOT / "output" / "versions"
PAGE = ROOT / "docs" / "versions.md"
BEGIN, END = "<!-- versions -->\n", "<!-- /versions -->"
# What depends on ComfyUI: rows equal stock runs, winners, nodes, workflows, the server.
CORE = (
    "demo_rows",
    "node_definitions",
    "path_pieces",
    "prompt_graphs",
    "rows_equal_stock",
    "saved_workflows",
    "search_runs",
    "server",
    "server_search",
    "verifier_workflows",
    "versions",
    "winner_again",
    "workflows",
)
HEAD = """\
| ComfyUI | core tests | searches tried | same winner and cost as in the row above | same pictures to the bit | examples |
|---|---|---:|---:|---:|---|
"""


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("places", nargs="*", metavar="[NAME=]PATH")
    parser.add_argument("--only", choices=("tests", "scenarios"))
    parser.add_argument("--write", action="store_true", help="put the table into docs/versions.md")
    options = parser.parse_args(arguments)
    try:
        for given in options.places:
            name, _, path = given.rpartition("=")
            try_on(Path(path).absolute(), name, options.only)
    except SetupError as error:
        say(str(error))
        return 1
    kept = {path.stem: json.loads(path.read_text("utf-8")) for path in KEPT.glob("*.json")}
    tried = {name: one for name, one in kept.items() if {"tests", "scenarios"} <= set(one)}
    print(page(tried), end="")
    if options.write:
        write(page(tried))
    return 0


# -- trying


def try_on(comfyui: Path, name: str, only: str | None) -> None:
    """Measure one ComfyUI, and keep it."""
    place = users_place(comfyui, None)
    name = name or version_of(comfyui)
    kept = KEPT / f"{name}.json"
    found = json.loads(kept.read_text("utf-8")) if kept.is_file() else {}
    KEPT.mkdir(parents=True, exist_ok=True)
    if only != "tests":
        say(f"{name}: scenarios")
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "NOISESEARCH_COMFYUI": str(comfyui)}
        command = [str(place.python), str(ROOT / "tools" / "scenarios.py")]
        run = subprocess.run(command, env=environment, stdout=subprocess.PIPE)
        if run.returncode:
            raise SetupError(f"the scenarios did not run on {comfyui}: the message is above.")
        found["scenarios"] = {**json.loads(run.stdout), "commit": commit()}
        kept.write_text(json.dumps(found, indent=1, ensure_ascii=False), "utf-8")
    if only != "scenarios":
        say(f"{name}: core tests")
        results = KEPT / f"{name}.xml"
        results.unlink(missing_ok=True)
        files = [f"tests/test_{core}.py" for core in CORE]
        command = [sys.executable, str(ROOT / "tools" / "dev.py"), "test", "--comfyui", str(comfyui)]
        subprocess.run([*command, "--", "-q", f"--junitxml={results}", *files])
        if not results.is_file():
            raise SetupError(f"the core tests did not run on {comfyui}: the message is above.")
        found["tests"] = {**outcomes(ElementTree.parse(results)), "commit": commit()}
        results.unlink()
    kept.write_text(json.dumps(found, indent=1, ensure_ascii=False), "utf-8")


def commit() -> str:
    """The commit of the pack, where it is a git checkout."""
    run = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return run.stdout.strip() or "unknown"


def outcomes(results: ElementTree.ElementTree) -> dict:
    """{"passed": a number, "skipped": {reason: how many}, "failed": {test: the first line of why}} of a JUnit file."""
    passed, skipped, failed = 0, Counter(), {}
    for case in results.iter("testcase"):
        if (why := case.find("skipped")) is not None:
            skipped[why.get("message", "")] += 1
        elif (why := _failure(case)) is not None:
            name = f"{case.get('classname', '').split('.')[-1]}::{case.get('name')}"
            failed[name] = (why.get("message") or "").split("\n")[0]
        else:
            passed += 1
    return {"passed": passed, "skipped": dict(skipped), "failed": failed}


def _failure(case):
    kinds = (case.find(kind) for kind in ("failure", "error"))
    return next((why for why in kinds if why is not None), None)


# -- the table


def page(tried: dict[str, dict]) -> str:
    """The table, oldest version first, and below it what does not agree and what did not run, and why."""
    rows, notes, tried_with, above = "", {}, {}, None
    for name in sorted(tried, key=_age):
        one = tried[name]
        said = agreement(above, one["scenarios"]) if above else None
        rows += row(name, one, said)
        for text in remarks(one, said):
            notes.setdefault(text, []).append(name)
        above = one["scenarios"]
        commits = " and ".join(sorted({one[part]["commit"] for part in ("tests", "scenarios")}))
        with_what = f"torch {one['scenarios']['machine']['torch']} on a CPU, NoiseSearch at commit {commits}."
        tried_with.setdefault(with_what, []).append(name)
    entries = [*sorted(notes.items(), key=lambda note: len(note[1]) < len(tried)), *tried_with.items()]
    below = [
        f"- {'All' if len(names) == len(tried) else ', '.join(names)}: {text}\n" for text, names in entries
    ]
    return f"{HEAD}{rows}\n{''.join(below)}"


def _age(name: str):
    return [int(part) for part in re.findall(r"\d+", name)]


def agreement(above: dict, found: dict) -> dict[str, str]:
    """{scenario: "" where all is as above, "pictures" or "winner" where that differs, "cost" where what was paid does} of those that both ran."""
    return {
        name: _differs({name: above["workflows"][name]}, {name: given})
        for name, given in found["workflows"].items()
        if name in above["workflows"]
    }


def _differs(before: dict, after: dict) -> str:
    machine = {"machine": {}}
    lines = differences({**machine, "workflows": before}, {**machine, "workflows": after})
    where = [line.split(": ")[0] for line in lines]
    if any("nfe" in one for one in where):
        return "cost"
    if any("/pictures/" not in one for one in where):
        return "winner"
    return "pictures" if where else ""


def row(name: str, one: dict, said: dict[str, str] | None) -> str:
    tests, scenarios = one["tests"], one["scenarios"]
    same = pictures = ""
    if said is not None:
        same = f"{sum(what in ('', 'pictures') for what in said.values())} of {len(said)}"
        pictures = f"{sum(what == '' for what in said.values())} of {len(said)}"
    examples = Counter(
        "ran" if why == "" else "opened" if why.startswith("opens;") else "**failed**"
        for why in scenarios["examples"].values()
    )
    counts = {"passed": tests["passed"], "**failed**": len(tests["failed"])}
    counts["skipped"] = sum(tests["skipped"].values())
    cells = (name, _told(counts), len(scenarios["workflows"]), same, pictures, _told(examples))
    return f"| {' | '.join(map(str, cells))} |\n"


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def remarks(one: dict, said: dict[str, str] | None) -> list[str]:
    """What needs a reason, one sentence each."""
    by_kind: dict[str, list[str]] = {}
    for name, what in (said or {}).items():
        by_kind.setdefault(what, []).append(name)
    words = {
        "cost": "another cost than in the row above",
        "winner": "other winners at the same cost",
        "pictures": "only the pixels differ",
    }
    found = [f"{words[what]}: {_listed(names)}." for what, names in by_kind.items() if what]
    found += [f"`{name}` was not tried: {why}." for name, why in one["scenarios"]["left_out"].items()]
    examples = one["scenarios"]["examples"]
    if opened := [name for name, why in examples.items() if why.startswith("opens;")]:
        found.append(f"opened but not run, for want of their models: {_listed(opened)}.")
    found += [f"the example `{name}`: {why}." for name, why in examples.items() if why and name not in opened]
    found += [f"{count} skipped: {why}." for why, count in one["tests"]["skipped"].items()]
    found += [f"**failed**: `{name}`: {why}." for name, why in one["tests"]["failed"].items()]
    return found


def _listed(names: list[str]) -> str:
    return "; ".join(f"`{name}`" for name in names)


def write(text: str) -> None:
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}{text}{END}{after}", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
