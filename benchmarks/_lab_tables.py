"""lab/results -> the tables of docs/lab: BLOCKS names them all, as the pages do."""

from __future__ import annotations

import re

from _lab_claims import claims
from noisesearch.lab import digits, reflow, scaling, toy, upscaling

MISSING = "not measured yet"
TEACHER_STEPS = (
    1800 + digits.TEACHER_STEPS
)  # the shipped generator's own (tools/train_demo.py), then the tuning


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
        if "finite" in row and not name.startswith("discrete"):
            cells = [f"{row[k]:.3f}" if k in row else "diverged" for k in ("one step", "two steps")]
            rows.append([name, *cells, f"{row['seconds']:.0f}"])
    return markdown(["", "one step", "two steps", "CPU s"], rows)


def discrete_rows(tables, kind):
    """{N: row} of a way to train in discrete time."""
    found = (re.fullmatch(rf"{kind}, N = (\d+)", name) for name in tables["toy"])
    return {int(m[1]): tables["toy"][m[0]] for m in found if m}


def discrete_table(tables):
    plain, matched = (discrete_rows(tables, kind) for kind in ("discrete", toy.MATCHED))

    def cells(row):
        return (
            [f"{row[k]:.3f}" if k in row else "diverged" for k in ("one step", "two steps")]
            if row
            else 2 * [MISSING]
        )

    rows = [[n, *cells(plain.get(n)), *cells(matched.get(n))] for n in sorted({*plain, *matched})]
    continuous = tables["toy"].get("sCD, all on")
    if rows and continuous:
        rows.append(["continuous", "", "", *cells(continuous)])
    return markdown(["N", "plain: one step", "two steps", "as sCD: one step", "two steps"], rows)


def fid(row):
    return number(row["fid"]) + (f" +- {row['fid +-']:.1f}" if "fid +-" in row else "")


def quality(row):
    return [fid(row), f"{row['precision']:.2f}", f"{row['recall']:.2f}", row["samples"]]


def teacher_table(tables):
    def place(name):
        steps = re.search(r"(\d+) steps(, headline)?$", name)
        return name.endswith("headline"), not steps, name.split(",")[0], int(steps[1]) if steps else 0

    found = tables["teachers"]
    rows = [[name, *quality(found[name])] for name in sorted(found, key=place) if "fid" in found[name]]
    return markdown(["teacher", "FID", "precision", "recall", "samples"], rows)


def student_table(tables):
    rows = [[name, *quality(row)] for name, row in tables["students"].items() if name.endswith("headline")]
    return markdown(["student", "FID", "precision", "recall", "samples"], rows)


def compute_table(tables):
    """Two-step quality on the way, against what the tuned teacher cost to train."""
    whole = scaling.training_gflops(128, TEACHER_STEPS)
    rows = {}
    for name, row in tables["students"].items():
        if match := re.fullmatch(r"student (\d+) at (\d+), (one step|two steps)", name):
            rows.setdefault(int(match[2]), {}).setdefault(match[3], {})[match[1]] = row
    lines = []
    for step, kinds in sorted(rows.items()):
        cost = next(iter(kinds["two steps"].values()))["training gflops"]
        cells = [
            ", ".join(f"{kinds[k][s]['fid']:.1f}" for s in sorted(kinds.get(k, {})))
            for k in ("one step", "two steps")
        ]
        lines.append([step, ", ".join(sorted(kinds["two steps"])), f"{cost / whole:.0%}", *cells])
    return markdown(["steps", "seeds", "of the teacher's compute", "FID, one step", "FID, two steps"], lines)


def lever_table(tables):
    rows = {}
    for name, row in tables["levers"].items():
        if match := re.fullmatch(r"(.*), (one step|two steps)(, headline)?", name):
            rows.setdefault(match[1] + (match[3] or ""), {})[match[2]] = row
    lines = [
        [name, *[fid(row[k]) if k in row else MISSING for k in ("one step", "two steps")]]
        for name, row in rows.items()
    ]
    table = markdown(["changed; headline: 10 000 samples", "FID, one step", "FID, two steps"], lines)
    for name, row in tables["levers"].items():
        if name.endswith("two steps, right"):
            lever = name.removesuffix(", two steps, right")
            table += f"\n\n{lever}: {share(row)} of its two-step samples are right by the judge without any search."
    return table


def derivative_table(tables):
    row = tables["students"].get("derivative")
    if not row:
        return MISSING
    rows = [[name, f"{row[f'{name}, ms']:.0f}"] for name in ("forward", "difference", "exact")]
    return (
        markdown(["one batch of 96", "CPU ms"], rows)
        + f"\n\nThe difference is off by {row['relative error']:.1%} of the exact derivative (rms)."
    )


def finished(students, what):
    """Rows of every seed at one or two steps; while none is finished, of the latest average kept on the way."""
    seeds, kept = (
        [row for name, row in students.items() if re.fullmatch(rf"student \d+{at}, {what}, headline", name)]
        for at in ("", r" at \d+")
    )
    return seeds or kept[-1:]


STUDENT_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # 97.5 % quantiles of Student's t by number of seeds


def spread(values):
    """Half of the 95 % interval of the mean of some seeds."""
    mean, count = sum(values) / len(values), len(values)
    return STUDENT_T[count] * (sum((v - mean) ** 2 for v in values) / (count - 1) / count) ** 0.5


def by_steps(teachers, name):
    """{steps: row} of a teacher by Euler: its headline where there is one, else its first look."""
    found = {}
    for key in sorted(teachers):  # "..., headline" comes after the first look
        if match := re.fullmatch(rf"{name}, (\d+) steps(, headline)?", key):
            found[int(match[1])] = teachers[key]
    return found


def goal_table(tables):
    """Ratios to the shipped and the tuned teacher, with intervals over training seeds and the teacher's samples."""
    students, teachers = tables["students"], tables["teachers"]
    rows = []
    for what, goal_12, goal_best in (("two steps", 1.10, 1.20), ("one step", 1.40, None)):
        own = finished(students, what)
        for name in ("shipped", "tuned"):
            steps = by_steps(teachers, name)
            if not own or 12 not in steps:
                continue
            alike = [n for n in steps if steps[n]["samples"] == own[0]["samples"]] or list(steps)
            best = min(alike, key=lambda n: steps[n]["fid"])
            rows.append(
                [
                    f"{what} / {name} teacher",
                    ", ".join(f"{row['fid']:.1f}" for row in own),
                    f"{ratio(own, steps[12])} (goal {goal_12:.2f})",
                    f"{ratio(own, steps[best])} of {best} steps"
                    + (f" (goal {goal_best:.2f})" if goal_best else ""),
                ]
            )
        baseline = teachers.get("shipped, two-step consistency, headline")
        if what == "two steps" and own and baseline:
            rows.append(
                [
                    "two steps / shipped teacher as a two-step consistency sampler",
                    ", ".join(f"{row['fid']:.1f}" for row in own),
                    ratio(own, baseline),
                    "",
                ]
            )
    return markdown(["", "FID, each seed", "over 12 steps", "over the best measured"], rows)


def ratio(own, reference):
    """Mean FID over a reference's, with its 95 % interval where seeds and samples give one."""
    values = [row["fid"] for row in own]
    mean = sum(values) / len(values)
    found = mean / reference["fid"]
    if len(values) < 2 or "fid +-" not in reference:
        return f"{found:.2f}"
    half = found * ((spread(values) / mean) ** 2 + (reference["fid +-"] / reference["fid"]) ** 2) ** 0.5
    return f"{found:.2f} +- {half:.2f}"


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


def share(row):
    """The judge's accuracy with its interval."""
    if "accuracy interval" not in row:
        return f"{row['accuracy']:.1%}"
    low, high = row["accuracy interval"]
    return f"{row['accuracy']:.1%} ({100 * low:.0f} to {100 * high:.0f})"


def optimal_table(tables):
    rows, widths = search_rows(tables), []
    own = [row for row in rows if row["model"].startswith("width")]
    for by in ("accuracy", "fid"):
        for budget, row in scaling.optimal(own, BUDGETS, by).items():
            name = "judge" if by == "accuracy" else "FID"
            triple = [row["model"], row["steps"], row["candidates"]]
            widths.append([f"{1000 * budget:g} MFLOPs, by {name}", *triple, share(row), fid(row)])
    return markdown(
        ["budget per image", "model", "steps", "candidates", "judge: right", "FID of the winners"], widths
    )


def equal_cost_table(tables):
    """Each width's own best with search against the largest without, at the largest's costs: by the judge, then by FID."""
    rows = search_rows(tables)
    large = [r for r in scaling.of_width(rows, max(scaling.WIDTHS)) if r["candidates"] == 1]
    small = [
        [r for r in scaling.of_width(rows, width) if r["candidates"] > 1] for width in scaling.WIDTHS[:-1]
    ]
    found = []
    for by, shown in (("accuracy", share), ("fid", fid)):
        for budget in sorted({r["gflops"] for r in large}):
            line = [f"{1000 * budget:.0f} MFLOPs, {'judge: right' if by == 'accuracy' else 'FID'}"]
            for own in (large, *small):
                best = scaling.optimal(own, (budget,), by).get(budget)
                line.append(f"{shown(best)} ({triple(best)})" if best else "-")
            found.append(line)
    floor = tables["search"].get("as many real digits")
    if floor and found:
        found.append([f"real digits, FID {floor['fid']:.1f}", *[""] * len(scaling.WIDTHS)])
    return markdown(
        [
            "cost per image",
            f"width {max(scaling.WIDTHS)}, no search",
            *[f"width {w} + search" for w in scaling.WIDTHS[:-1]],
        ],
        found,
    )


def distilled_rows(tables):
    """Rows of the student, and of its teachers at any step count by Euler, DDPM or under guidance."""
    rows = [r for r in search_rows(tables) if not r["model"].startswith("width")]
    return {
        "student": [r for r in rows if r["model"] == "student"],
        "shipped teacher": [r for r in rows if r["model"].startswith("shipped teacher")],
        "tuned teacher": [r for r in rows if r["model"].startswith("tuned teacher")],
    }


def triple(row):
    name, _, how = row["model"].partition(", ")
    return f"{row['steps']} x {row['candidates']}" + (f", {how}" if how else "")


def best_within(rows, key, budget, by):
    """The best row that a budget pays for, or None."""
    own = [row for row in rows if row[key] <= budget * (1 + 1e-9)]
    order = {"accuracy": lambda r: (-r["accuracy"], r[key]), "fid": lambda r: (r["fid"], r[key])}[by]
    return min(own, key=order) if own else None


def distilled_table(tables):
    """Search on the student against search on its teachers, whose own best step count and sampler are taken at every budget: at equal NFE, then at equal time."""
    groups = distilled_rows(tables)
    if not all(groups.values()):
        return MISSING
    for rows in groups.values():
        for row in rows:
            row["nfe"] = scaling.evaluations(row)
    parts = []
    times = [
        best_within([r for r in groups["student"] if r["steps"] == 2], "nfe", n, "accuracy")["ms"]
        for n in (2, 4, 8, 16, 32)
    ]
    for key, budgets, unit in (("nfe", (2, 4, 8, 16, 32, 64, 96), "NFE"), ("ms", times, "ms")):
        for by, shown in (("accuracy", share), ("fid", fid)):
            lines = []
            for budget in budgets:
                best = [best_within(rows, key, budget, by) for rows in groups.values()]
                cells = [f"{shown(r)}, {triple(r)}" if r else "-" for r in best]
                lines.append([f"{budget:.2g} {unit}", *cells])
            what = "judge: right" if by == "accuracy" else "FID of the winners"
            parts.append(markdown([what, *groups], lines))
    return "\n\n".join(parts)


def cheap_table(tables):
    """The best undistilled (width, steps) by DDIM at its best guidance at the cost of each distilled cell."""
    cells = [r for n, r in tables["widths"].items() if n.endswith("ddim")]
    lines = []
    for name, row in tables["widths"].items():
        if match := re.fullmatch(r"(\d+) distilled x (\d+)", name):
            best = best_within(cells, "gflops", row["gflops"], "fid")
            like = [r for r in cells if r["fid"] <= row["fid"]]
            cheapest = min(like, key=lambda r: r["gflops"]) if like else None
            own = tables["widths"].get(f"{match[1]} tuned x 12")
            lines.append(
                [
                    f"{match[1]}, {match[2]} step{'s' * (match[2] != '1')}",
                    f"{1000 * row['gflops']:.1f}",
                    fid(row),
                    f"{row['fid'] / own['fid']:.2f} of {own['fid']:.1f}" if own else MISSING,
                    f"{fid(best)} ({best['width']} x {best['steps']}, g {best['guidance']:g})"
                    if best
                    else "none so cheap",
                    f"{1000 * cheapest['gflops']:.0f} ({cheapest['width']} x {cheapest['steps']}, g {cheapest['guidance']:g})"
                    if cheapest
                    else "none",
                ]
            )
    return markdown(
        [
            "distilled",
            "MFLOPs",
            "FID",
            "of its teacher's, 12 steps",
            "best undistilled at that cost",
            "MFLOPs of the cheapest undistilled as good",
        ],
        lines,
    )


def reflow_table(tables):
    rows = tables["reflow"]
    lines = []
    for name in ("tuned teacher", "as many plain steps", "after reflow"):
        bend = rows.get(f"{name}, curvature")
        cells = [rows.get(f"{name}, {n} steps") for n in reflow.STEPS]
        if bend and all(cells):
            lines.append([name, f"{bend['curvature']:.3f}", *[fid(cell) for cell in cells]])
    return markdown(["", "curvature", *[f"FID, {n} step{'s' * (n > 1)}" for n in reflow.STEPS]], lines)


def upscaling_table(tables):
    rows, lines = tables["upscaling"], []
    for width in upscaling.WIDTHS:
        cells = [rows.get(f"{width} x {n}") for n in upscaling.STEPS]
        if all(cells):
            lines.append([f"{width}", *[f"{number(c['fid'])} / {c['rms error']:.3f}" for c in cells]])
    for name in ("bicubic", "true pictures"):
        if name in rows and lines:
            lines.append(
                [
                    f"{name}",
                    f"{number(rows[name]['fid'])} / {rows[name]['rms error']:.3f}",
                    *[""] * (len(upscaling.STEPS) - 1),
                ]
            )
    return markdown(["width", *[f"{n} step{'s' * (n > 1)}" for n in upscaling.STEPS]], lines)


def budget_table(tables):
    """The best (width, steps) by DDIM that each sampling budget pays for."""
    cells = [r for n, r in tables["widths"].items() if n.endswith("ddim")]
    lines = []
    for budget in BUDGETS:
        if best := best_within(cells, "gflops", budget, "fid"):
            lines.append(
                [f"{1000 * budget:g}", best["width"], best["steps"], f"{best['guidance']:g}", fid(best)]
            )
    return markdown(["budget, MFLOPs", "width", "steps", "guidance", "FID"], lines)


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
    """FID of every seed, by weighting, kind and sampler."""
    found = {}
    for name, row in tables["outputs"].items():
        weighting, kind, _, sampler = re.fullmatch(r"(.*): (flow|eps) (\d+), (.*)", name).groups()
        found.setdefault((weighting, kind), {}).setdefault(sampler, []).append(row["fid"])
    kinds = ("Euler in flow time", "DDIM", "DDPM")
    rows = [
        [f"{weighting}: {kind}", *[", ".join(f"{v:.1f}" for v in cells.get(k, [])) or MISSING for k in kinds]]
        for (weighting, kind), cells in found.items()
    ]
    return markdown(["weighting: trained as", *kinds], rows)


def claims_table(tables):
    lines = [["claim", "command", "published", "ours", "as published?"], ["---"] * 5]
    for claim in claims(tables):
        lines.append([claim.text, f"`{claim.command}`", claim.published, claim.ours, claim.verdict])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


BLOCKS = {
    "toy": toy_table,
    "discrete": discrete_table,
    "compute": compute_table,
    "derivative": derivative_table,
    "cheap": cheap_table,
    "levers": lever_table,
    "budgets": budget_table,
    "reflow": reflow_table,
    "upscaling": upscaling_table,
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
