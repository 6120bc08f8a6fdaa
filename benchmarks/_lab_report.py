"""lab/results -> docs/lab: tables, figures, claims and the plan of optimal triples. Text between `<!-- NAME -->` and `<!-- end -->` in the docs is written here, the rest by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

from _lab_figures import draw
from _lab_tables import BLOCKS, BUDGETS
from noisesearch.lab import results, scaling
from noisesearch.lab.results import Table

DOCS = Path(__file__).resolve().parent.parent / "docs" / "lab"
PARTS = (
    "interpolants",
    "toy",
    "teachers",
    "students",
    "widths",
    "search",
    "outputs",
    "reflow",
    "upscaling",
    "levers",
)


def write_docs():
    """Fill every marked place, draw the figures, write the plan of optimal triples."""
    tables = {name: Table(name).rows for name in PARTS}
    blocks = {name: make(tables) for name, make in BLOCKS.items()}
    for path in sorted(DOCS.glob("*.md")):
        path.write_text(filled(path.read_text("utf-8"), blocks), "utf-8")
    write_plan(tables["search"])
    draw(tables, DOCS)


def filled(text, blocks):
    """A page with every marked place written anew."""
    for name in re.findall(r"<!-- ([\w-]+) -->", text):
        if name != "end":
            text = re.sub(
                rf"(<!-- {name} -->\n).*?(<!-- end -->)",
                lambda m, n=name: m[1] + blocks[n] + "\n" + m[2],
                text,
                flags=re.S,
            )
    return text


def write_plan(rows):
    """lab/results/plan.json: cost per image -> (model, steps, candidates), for whoever plans compute."""
    own = [row for row in rows.values() if "accuracy" in row]
    if all(any(row["model"] == f"width {width}" for row in own) for width in scaling.WIDTHS):
        plan = {
            "cost": "GFLOPs per image = GFLOPs of one evaluation x steps x candidates; twice that under guidance",
            "gflops": {f"width {w}": round(scaling.gflops(w), 6) for w in scaling.WIDTHS},
            "rows": own,
            "optimal": {
                by: [
                    {"budget": b, **r}
                    for b, r in scaling.optimal(
                        [r for r in own if r["model"].startswith("width")], BUDGETS, by
                    ).items()
                ]
                for by in ("accuracy", "fid")
            },
        }
        (results.FOLDER / "plan.json").write_text(json.dumps(plan, indent=1) + "\n", "utf-8")
