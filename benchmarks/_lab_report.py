"""lab/results -> the tables and figures of docs/lab, and the claims. Text between `<!-- NAME -->` and `<!-- end -->` in the docs is written here, the rest by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

from _lab_claims import claims
from noisesearch.lab import results, scaling
from noisesearch.lab.results import Table

DOCS = Path(__file__).resolve().parent.parent / "docs" / "lab"
MISSING = "not measured yet"


def write_docs():
    """Fill every marked place, draw the figures, write the plan of optimal triples."""
    tables = {
        name: Table(name).rows
        for name in ("interpolants", "toy", "teachers", "students", "widths", "search", "outputs")
    }
    blocks = {name: make(tables) for name, make in BLOCKS.items()}
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text("utf-8")
        for name in re.findall(r"<!-- ([\w-]+) -->", text):
            if name != "end":
                text = re.sub(
                    rf"(<!-- {name} -->\n).*?(<!-- end -->)",
                    lambda m, n=name: m[1] + blocks[n] + "\n" + m[2],
                    text,
                    flags=re.S,
                )
        path.write_text(text, "utf-8")
    write_plan(tables["search"])
    draw(tables)


def markdown(head, rows):
    if not rows:
        return MISSING
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def number(value, digits=1):
    return MISSING if value is None else f"{value:.{digits}f}"


def toy_table(tables):
    rows = []
    for name, row in tables["toy"].items():
        if "finite" in row:
            cells = [f"{row[k]:.3f}" if k in row else "diverged" for k in ("one step", "two steps")]
            rows.append([name, *cells, f"{row['seconds']:.0f}"])
    return markdown(["", "one step", "two steps", "CPU s"], rows)


def quality(row):
    return [number(row["fid"]), f"{row['precision']:.2f}", f"{row['recall']:.2f}", row["samples"]]


def teacher_table(tables):
    rows = [[name, *quality(row)] for name, row in tables["teachers"].items() if "fid" in row]
    return markdown(["teacher", "FID", "precision", "recall", "samples"], rows)


def student_table(tables):
    rows = [[name, *quality(row)] for name, row in tables["students"].items() if "fid" in row]
    return markdown(["student", "FID", "precision", "recall", "samples"], rows)


def finished(students, what):
    """FID of every seed at one or two steps; while none is finished, of the latest average kept on the way."""
    seeds, kept = (
        [
            row["fid"]
            for name, row in students.items()
            if re.fullmatch(rf"student \d+{at}, {what}, headline", name)
        ]
        for at in ("", r" at \d+")
    )
    return seeds or kept[-1:]


def goal_table(tables):
    """Ratios to the shipped and the tuned teacher: its headline where there is one, else its first look (2000 samples)."""
    students, teachers = tables["students"], tables["teachers"]
    rows = []
    for what, goal_12, goal_best in (("two steps", 1.10, 1.20), ("one step", 1.40, None)):
        found = finished(students, what)
        for name in ("shipped", "tuned"):
            by_steps = {}
            for key in sorted(teachers):  # "..., headline" comes after the first look
                if match := re.fullmatch(rf"{name}, (\d+) steps(, headline)?", key):
                    by_steps[int(match[1])] = teachers[key]["fid"]
            if not found or 12 not in by_steps:
                continue
            mean, best = sum(found) / len(found), min(by_steps, key=by_steps.get)
            rows.append(
                [
                    f"{what} / {name} teacher",
                    ", ".join(f"{f:.1f}" for f in found),
                    f"{mean / by_steps[12]:.2f} (goal {goal_12:.2f})",
                    f"{mean / by_steps[best]:.2f} of {best} steps"
                    + (f" (goal {goal_best:.2f})" if goal_best else ""),
                ]
            )
    return markdown(["", "FID, each seed", "over 12 steps", "over the best measured"], rows)


def width_table(tables):
    rows = []
    for width in scaling.WIDTHS:
        cells = []
        for steps in scaling.STEPS:
            row = tables["widths"].get(f"{width} x {steps} ddim")
            cells.append(f"{row['fid']:.1f} (g {row['guidance']:g})" if row else MISSING)
        rows.append([f"{width} ({1000 * scaling.gflops(width):.2f} MFLOPs)", *cells])
    return markdown(["width", *[f"{s} steps" for s in scaling.STEPS]], rows)


def sampler_table(tables):
    rows = []
    for width in scaling.WIDTHS:
        for steps in scaling.KINDS["ddpm"]:
            found = [tables["widths"].get(f"{width} x {steps} {kind}") for kind in scaling.KINDS]
            if all(found):
                rows.append([f"{width}, {steps} steps", *[f"{row['fid']:.1f}" for row in found]])
    return markdown(["", "DDIM", "DDPM", "DPM-Solver++(2M)"], rows)


def training_table(tables):
    rows = [
        [
            f"{width}",
            *[
                number((tables["widths"].get(f"{width} trained {s}") or {}).get("fid"))
                for s in (*scaling.KEPT, scaling.TRAINING)
            ],
        ]
        for width in scaling.WIDTHS
    ]
    return markdown(["width", *[f"{s} training steps" for s in (*scaling.KEPT, scaling.TRAINING)]], rows)


def search_rows(tables):
    return [row for row in tables["search"].values() if "accuracy" in row]


BUDGETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


def optimal_table(tables):
    rows, widths = search_rows(tables), []
    own = [row for row in rows if row["model"].startswith("width")]
    for by in ("accuracy", "fid"):
        for budget, row in scaling.optimal(own, BUDGETS, by).items():
            widths.append(
                [
                    f"{1000 * budget:g} MFLOPs, by {by}",
                    row["model"],
                    row["steps"],
                    row["candidates"],
                    f"{row['accuracy']:.1%}",
                    f"{row['fid']:.1f}",
                ]
            )
    return markdown(
        ["budget per image", "model", "steps", "candidates", "judge: right", "FID of the winners"], widths
    )


def equal_cost_table(tables):
    """Each width's own best with search against the largest without, at the largest's costs."""
    rows = search_rows(tables)
    large = [r for r in rows if r["model"] == f"width {max(scaling.WIDTHS)}" and r["candidates"] == 1]
    found = []
    for reference in large:
        line = [
            f"{1000 * reference['gflops']:.0f} MFLOPs",
            f"{reference['accuracy']:.1%} / {reference['fid']:.1f} ({reference['steps']} steps)",
        ]
        for width in scaling.WIDTHS[:-1]:
            own = [r for r in rows if r["model"] == f"width {width}"]
            best = scaling.optimal(own, (reference["gflops"],)).get(reference["gflops"])
            line.append(
                f"{best['accuracy']:.1%} / {best['fid']:.1f} ({best['steps']} x {best['candidates']})"
                if best
                else "-"
            )
        found.append(line)
    return markdown(
        [
            "cost per image",
            f"width {max(scaling.WIDTHS)}, no search",
            *[f"width {w} + search" for w in scaling.WIDTHS[:-1]],
        ],
        found,
    )


def distilled_table(tables):
    """Search on the student and on its teacher, every cost."""
    rows = [r for r in search_rows(tables) if not r["model"].startswith("width")]
    return markdown(
        ["model", "steps", "candidates", "NFE", "MFLOPs", "judge: right", "FID of the winners"],
        [
            [
                r["model"],
                r["steps"],
                r["candidates"],
                r["steps"] * r["candidates"],
                f"{1000 * r['gflops']:.0f}",
                f"{r['accuracy']:.1%}",
                f"{r['fid']:.1f}",
            ]
            for r in sorted(rows, key=lambda r: r["gflops"])
        ],
    )


def interpolant_tables(tables):
    rows = tables["interpolants"]
    if "correlation with EDM" not in rows:
        return MISSING
    weights = markdown(
        ["weighting", "correlation with EDM's"],
        [[n, f"{v:.3f}"] for n, v in rows["correlation with EDM"].items()],
    )
    spread = markdown(
        ["training schedule", "loss", "relative spread of one draw"],
        [
            [n, f"{v['loss']:.3f}", f"{v['relative spread']:.2f}"]
            for n, v in rows["spread of the loss"].items()
        ],
    )
    integrators = [(name.split()[-1], row) for name, row in rows.items() if name.startswith("integrators")]
    sweep = markdown(
        ["spread of the data", *integrators[0][1]],
        [[n, *[f"{v:.4f}" for v in row.values()]] for n, row in integrators],
    )
    return f"{weights}\n\n{spread}\n\n{sweep}"


def outputs_table(tables):
    rows = [[name, *quality(row)] for name, row in tables["outputs"].items()]
    return markdown(["trained as, seed, sampled by", "FID", "precision", "recall", "samples"], rows)


def claims_table(tables):
    lines = [["claim", "command", "published", "ours", "as published?"], ["---"] * 5]
    for claim in claims(tables):
        lines.append([claim.text, f"`{claim.command}`", claim.published, claim.ours, claim.verdict])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


BLOCKS = {
    "toy": toy_table,
    "teachers": teacher_table,
    "students": student_table,
    "goals": goal_table,
    "widths": width_table,
    "samplers": sampler_table,
    "training": training_table,
    "equal-cost": equal_cost_table,
    "optimal": optimal_table,
    "distilled": distilled_table,
    "interpolants": interpolant_tables,
    "outputs": outputs_table,
    "claims": claims_table,
}


def write_plan(rows):
    """lab/results/plan.json: cost per image -> (model, steps, candidates), for whoever plans compute."""
    own = [row for row in rows.values() if "accuracy" in row]
    if all(any(row["model"] == f"width {width}" for row in own) for width in scaling.WIDTHS):
        plan = {
            "cost": "GFLOPs per image = GFLOPs of one evaluation x steps x candidates",
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


def draw(tables):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    def save(figure, name):
        figure.tight_layout()
        figure.savefig(DOCS / f"{name}.jpg", dpi=90)
        plt.close(figure)

    discrete = [
        (int(n.split()[-1]), r)
        for n, r in tables["toy"].items()
        if n.startswith("discrete") and "one step" in r
    ]
    if discrete:
        figure, axis = plt.subplots(figsize=(7, 4))
        for what in ("one step", "two steps"):
            axis.plot(
                [n for n, _ in discrete],
                [r[what] for _, r in discrete],
                marker="o",
                label=f"discrete time, {what}",
            )
            if what in tables["toy"].get("sCD, all on", {}):
                axis.axhline(tables["toy"]["sCD, all on"][what], ls="--", label=f"continuous time, {what}")
        axis.set(
            xscale="log",
            yscale="log",
            xlabel="N, levels of discrete time",
            ylabel="sliced Wasserstein distance",
        )
        axis.legend()
        save(figure, "discrete_against_continuous")
    cells = [r for n, r in tables["widths"].items() if n.endswith("ddim")]
    if cells:
        figure, axis = plt.subplots(figsize=(7, 4))
        for width in scaling.WIDTHS:
            own = sorted((r for r in cells if r["width"] == width), key=lambda r: r["gflops"])
            axis.plot(
                [1000 * r["gflops"] for r in own], [r["fid"] for r in own], marker="o", label=f"width {width}"
            )
        axis.set(xscale="log", yscale="log", xlabel="sampling cost per image, MFLOPs", ylabel="FID")
        axis.legend()
        save(figure, "fid_against_sampling_cost")
    rows = search_rows(tables)
    if len({row["model"] for row in rows}) >= len(scaling.WIDTHS):
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
        for axis, by in ((left, "accuracy"), (right, "fid")):
            for model in dict.fromkeys(r["model"] for r in rows):
                own = [r for r in rows if r["model"] == model]
                costs = sorted({r["gflops"] for r in own})
                best = scaling.optimal(own, costs, by)
                axis.plot([1000 * c for c in best], [best[c][by] for c in best], marker=".", label=model)
            axis.set(
                xscale="log",
                xlabel="cost per image = model x steps x candidates, MFLOPs",
                ylabel="judge: right" if by == "accuracy" else "FID of the winners",
            )
        left.legend(fontsize=8)
        save(figure, "model_steps_candidates")
