"""The claims of the papers beside our numbers: which command measures each, what was published, what we see, and whether it has the same sign."""

from __future__ import annotations

import re
from dataclasses import dataclass

from noisesearch.lab import experiments, scaling, upscaling
from noisesearch.lab import toy as toy_runs

MISSING = "not measured yet"
UNDECIDED, NOT_DONE = "undecided", "not done"
TESTS = "python tools/dev.py test -- tests/test_lab_interpolants.py -k "
BENCH = "python tools/dev.py bench lab -- --only "


@dataclass(frozen=True)
class Claim:
    text: str
    command: str
    published: str
    ours: str
    verdict: str


def claims(tables):
    """Every claim, measured or not."""
    return [*identities(tables["interpolants"], tables["outputs"]), *consistency(tables), *scale(tables)]


def _said(seen):
    return MISSING if seen is None else "yes" if seen else "**no**"


def _less(a, b, margin):
    """Whether a is less than b; no verdict within the margin."""
    return UNDECIDED if abs(a - b) <= margin else _said(a < b)


def fid(row):
    return f"FID {row['fid']:.1f} +- {row['fid +-']:.1f}"


def either(*rows):
    """The margin of a difference of two FIDs: their errors in quadrature."""
    return sum(row["fid +-"] ** 2 for row in rows) ** 0.5


def _exact(text, test, published="an identity"):
    return Claim(text, TESTS + test, published, "holds to 1e-10; its mutations fail", "yes")


def identities(rows, outputs):
    found = [
        _exact(
            "DDIM is Euler in flow time under any linear rescaling; Euler on the probability flow is not",
            "euler",
        ),
        _exact("The flow-matching loss is v-MSE with cosine weighting", "flow_matching"),
        _exact("A DDPM step is a double DDIM step, then noise", "double"),
        _exact("The SDE of a flow keeps the marginals for any epsilon", "marginals"),
        _exact("(f, g, eta) and (alpha, sigma, epsilon) are two spellings of one process", "both"),
        _exact("Paths are straight for a point only", "straight"),
        _exact("The weights of earlier predictions in the final sample have closed forms", "weights_of"),
    ]
    spread, alike = rows.get("spread of the loss"), rows.get("correlation with EDM")
    relative = [v["relative spread"] for v in spread.values()] if spread else []
    losses = [v["loss"] for v in spread.values()] if spread else []
    found.append(
        Claim(
            "The loss does not depend on the training schedule, only its variance does",
            BENCH + "interpolants",
            "a figure",
            f"loss {min(losses):.2f} to {max(losses):.2f}, relative spread of a draw {min(relative):.2f} to {max(relative):.2f}"
            if spread
            else MISSING,
            _said(
                max(losses) < 1.05 * min(losses) and max(relative) > 1.2 * min(relative) if spread else None
            ),
        )
    )
    found.append(
        Claim(
            "SD3's weighting resembles EDM's",
            BENCH + "interpolants",
            "a figure",
            f"correlation {alike['SD3']:.3f} over log-SNR from -12 to 12" if alike else MISSING,
            _said(alike["SD3"] > 0.9 if alike else None),
        )
    )
    best = {n.split()[-1]: min(r, key=r.get) for n, r in rows.items() if n.startswith("integrators")}
    found.append(
        Claim(
            "Which integrator is best depends on the spread of the data",
            BENCH + "interpolants",
            "a figure",
            "; ".join(
                f"{name}: spreads {', '.join(s for s, b in best.items() if b == name)}"
                for name in dict.fromkeys(best.values())
            )
            if best
            else MISSING,
            _said(len(set(best.values())) > 1 if best else None),
        )
    )
    found += [alike_as_outputs(outputs, name) for name in experiments.COMPARED]
    return found


def alike_as_outputs(rows, name):
    """Are eps and flow within their seeds of each other, by Euler in flow time?"""
    flow, eps = (
        [r["fid"] for n, r in rows.items() if re.fullmatch(rf"{name}: {kind} \d+, Euler in flow time", n)]
        for kind in ("flow", "eps")
    )
    both = len(flow) > 1 and len(eps) > 1
    means = [sum(v) / len(v) for v in (flow, eps)] if both else []
    return Claim(
        f"The same net trained as eps and as flow is the same: {name}",
        BENCH + "outputs",
        "stated",
        f"FID {', '.join(f'{v:.1f}' for v in flow)} as flow, {', '.join(f'{v:.1f}' for v in eps)} as eps"
        if both
        else MISSING,
        _said(abs(means[0] - means[1]) <= max(max(flow) - min(flow), max(eps) - min(eps)) if both else None),
    )


def consistency(tables):
    toy, found = tables["toy"], []
    full = toy.get("sCD, all on", {}).get("two steps")

    def worse(text, name, published, base="sCD, all on"):
        other, reference = toy.get(name), toy.get(base)
        known = other is not None and reference is not None
        ours, verdict = MISSING, MISSING
        if known:
            a, b = reference.get("two steps"), other.get("two steps")
            ours = f"{a:.3f} -> {'diverged' if b is None else f'{b:.3f}'} (one seed, two steps)"
            verdict = "yes" if b is None else _less(a, b, 0.2 * a)
        found.append(Claim(text, BENCH + "toy", published, ours, verdict))

    worse("Without tangent normalisation sCD gets worse", "without tangent normalisation", "unstable")
    worse("Without tangent warm-up sCD gets worse", "without warm-up", "less stable")
    worse(
        "Without the adaptive weighting sCD gets worse",
        "sCD, all on",
        "worse",
        base="with adaptive weighting",
    )
    worse("A Fourier time embedding makes it worse", "Fourier time embedding", "unstable")
    worse("Without double normalisation it gets worse", "without double normalisation", "less stable")
    worse("Without diffusion first it gets worse", "without diffusion first", "slower")
    worse(
        "Training alone (sCT) is behind distillation (sCD)",
        "sCT, all on",
        "true at scale (ImageNet 512: 3.76 against 1.88), not on CIFAR-10",
    )
    discrete = [r["two steps"] for n, r in toy.items() if n.startswith(toy_runs.MATCHED) and "two steps" in r]
    found.append(
        Claim(
            "Continuous time beats discrete time at every N",
            BENCH + "toy",
            "a figure",
            f"{full:.3f} against {min(discrete):.3f} to {max(discrete):.3f}, N = 16 to 4096, the same angles and normalised tangent"
            if full and discrete
            else MISSING,
            _less(full, min(discrete), 0.2 * full) if full and discrete else MISSING,
        )
    )
    students, teachers = tables["students"], tables["teachers"]
    for what, published, goal in (
        ("two steps", "1.09 (ImageNet 512) to 1.22 (ImageNet 64) of its teacher", 1.25),
        ("one step", "1.32 (512 XXL) to 1.77 (64 XL)", 1.8),
    ):
        own = [r["fid"] for n, r in students.items() if re.fullmatch(rf"student \d+, {what}, headline", n)]
        tuned = teachers.get("tuned, 12 steps, headline") or teachers.get("tuned, 12 steps")
        ratio = sum(own) / len(own) / tuned["fid"] if own and tuned else None
        found.append(
            Claim(
                f"Distilled, {what} come near the teacher",
                BENCH + "students",
                published,
                f"{ratio:.2f} of the tuned teacher at 12 steps ({len(own)} seed{'s' * (len(own) > 1)})"
                if ratio
                else MISSING,
                _said(ratio <= goal if ratio else None),
            )
        )
    found.append(early(students))
    for nfe in (2, 4, 8):
        found += on_the_student(tables["search"], nfe)
    plain, guided = (teachers.get(f"shipped, 12 steps, guidance {g}") for g in (1.0, 3.0))
    found.append(
        Claim(
            "Guidance buys precision with recall (what VSD is likened to)",
            BENCH + "teachers",
            "a figure",
            f"guidance 1 -> 3: precision {plain['precision']:.2f} -> {guided['precision']:.2f}, recall {plain['recall']:.2f} -> {guided['recall']:.2f}"
            if plain and guided
            else MISSING,
            _said(
                guided["precision"] > plain["precision"] and guided["recall"] < plain["recall"]
                if plain and guided
                else None
            ),
        )
    )
    return found


def early(students):
    """Is the student done at a fifth of the teacher's training compute?"""
    then, later = (
        [r["fid"] for n, r in students.items() if re.fullmatch(rf"student [23] at {step}, two steps", n)]
        for step in (450, 800)
    )
    known = len(then) == len(later) > 0
    a, b = (sum(v) / len(v) for v in (then, later)) if known else (0, 1)
    return Claim(
        "Two-step quality converges within 20 % of the teacher's training compute",
        BENCH + "students",
        "sCD, ImageNet 512",
        f"FID {a:.1f} at 20 %, {b:.1f} at 36 % (2000 samples, mean of {len(then)} seeds)"
        if known
        else MISSING,
        _said(a < 1.05 * b if known else None),
    )


def on_the_student(rows, nfe):
    """Search on the student against search on its teachers at equal NFE, each at its own best step count and sampler: by the judge, then by the FID of the winners."""
    groups = [
        [r for r in rows.values() if r.get("model", "").startswith(name)]
        for name in ("student", "shipped teacher", "tuned teacher")
    ]
    ours, verdicts = [MISSING, MISSING], [MISSING, MISSING]
    if all(groups):
        own = [[r for r in group if scaling.evaluations(r) <= nfe] for group in groups]
        right = [max(group, key=lambda r: r["accuracy"]) for group in own]
        near = [min(group, key=lambda r: r["fid"]) for group in own]
        ours = [" / ".join(f"{r['accuracy']:.1%}" for r in right), " / ".join(fid(r)[4:] for r in near)]
        verdicts = [
            _against([_less(-right[0]["accuracy"], -r["accuracy"], _shares(right[0], r)) for r in right[1:]]),
            _against([_less(near[0]["fid"], r["fid"], either(near[0], r)) for r in near[1:]]),
        ]
    return [
        Claim(
            f"Search on the student beats search on its teachers at {nfe} NFE, {what}",
            BENCH + "search",
            "not a claim of the papers",
            f"{seen} (student / shipped / tuned teacher)" if seen != MISSING else MISSING,
            verdict,
        )
        for what, seen, verdict in zip(("by the judge", "by the FID of the winners"), ours, verdicts)
    ]


def _shares(*rows):
    """The margin of a difference of two shares."""
    return sum(((r["accuracy interval"][1] - r["accuracy interval"][0]) / 2) ** 2 for r in rows) ** 0.5


def _against(verdicts):
    """One verdict against several controls: the worst of them."""
    return next((v for v in ("**no**", UNDECIDED) if v in verdicts), "yes")


def scale(tables):
    cells = {n: r for n, r in tables["widths"].items() if n.endswith("ddim")}
    complete = len(cells) == len(scaling.WIDTHS) * len(scaling.STEPS)
    found = []

    ours, verdict = MISSING, None
    if complete:
        largest = sorted(
            (r for r in cells.values() if r["width"] == max(scaling.WIDTHS)), key=lambda r: r["gflops"]
        )
        pairs = []
        for row in (largest[0], largest[-1]):
            smaller = [
                r for r in cells.values() if r["width"] < row["width"] and r["gflops"] <= row["gflops"]
            ]
            pairs.append((min(smaller, key=lambda r: r["fid"]), row))
        ours = "; ".join(
            f"at {1000 * b['gflops']:.0f} MFLOPs width {a['width']} ({a['steps']} steps) {fid(a)}, width {b['width']} ({b['steps']} steps) {fid(b)}"
            for a, b in pairs
        )
        verdict = pairs[0][0]["fid"] < pairs[0][1]["fid"] and pairs[1][1]["fid"] < pairs[1][0]["fid"]
    found.append(
        Claim(
            "At a small sampling cost a smaller model wins, at a large one a larger",
            BENCH + "widths",
            "cost 3: 83M; cost 12: 145M at FID 17, 866M at 20",
            ours,
            _said(verdict),
        )
    )
    guidances = {r["guidance"] for r in cells.values()}
    found.append(
        Claim(
            "The best guidance depends on size and steps",
            BENCH + "widths",
            "a figure",
            f"best of {', '.join(f'{g:g}' for g in scaling.GUIDANCES)} over {len(cells)} cells: {', '.join(f'{g:g}' for g in sorted(guidances))}"
            if complete
            else MISSING,
            _said(len(guidances) > 1 if complete else None),
        )
    )
    orders = []
    for kind in scaling.KINDS:
        row = [tables["widths"].get(f"{w} x 16 {kind}") for w in scaling.WIDTHS]
        if all(row):
            orders.append(tuple(sorted(range(len(row)), key=lambda i: row[i]["fid"])))
    found.append(
        Claim(
            "DDIM, DDPM and DPM-Solver++ rank the sizes alike",
            BENCH + "widths",
            "agree",
            f"order of the widths at 16 steps: {', '.join('-'.join(str(scaling.WIDTHS[i]) for i in o) for o in orders)}"
            if len(orders) == 3
            else MISSING,
            _said(len(set(orders)) == 1 if len(orders) == 3 else None),
        )
    )
    found += [*searched(tables["search"]), *distilled(tables["widths"]), *straightened(tables["reflow"])]
    found.append(enlarged(tables["upscaling"]))
    found.append(
        Claim(
            "DreamBooth",
            "-",
            "large wins",
            "there is no subject to personalise among digits",
            NOT_DONE,
        )
    )
    return found


def searched(table):
    """Small with search against the largest without, which has its own best step count within the same cost."""
    rows = [r for r in table.values() if r.get("model", "").startswith("width")]
    by_width = {width: scaling.of_width(rows, width) for width in scaling.WIDTHS}
    alone = [r for r in by_width[max(scaling.WIDTHS)] if r["candidates"] == 1]
    between, least = (
        [r for width in widths for r in by_width[width] if r["candidates"] > 1]
        for widths in (scaling.WIDTHS[1:-1], scaling.WIDTHS[:1])
    )
    found = []
    for text, own, published, expected in (
        (
            "A smaller model with search beats the largest without, at equal cost",
            between,
            "SiT-L with search beats SiT-XL",
            True,
        ),
        ("Too small a model does not catch up by search", least, "SiT-B does not reach SiT-XL", False),
    ):
        seen = {"by the judge": (MISSING, MISSING), "by the FID of the winners": (MISSING, MISSING)}
        if alone and own and all(by_width.values()):
            budget = max(r["gflops"] for r in alone)
            right, best = (scaling.optimal(own, (budget,), by)[budget] for by in ("accuracy", "fid"))
            theirs = max(alone, key=lambda r: r["accuracy"]), min(alone, key=lambda r: r["fid"])
            at = f"at {1000 * budget:.0f} MFLOPs"
            order = 1 if expected else -1
            seen = {
                "by the judge": (
                    f"{at} {right['accuracy']:.1%} ({right['model']}, {right['steps']} x {right['candidates']}) against {theirs[0]['accuracy']:.1%}",
                    _less(
                        -order * right["accuracy"], -order * theirs[0]["accuracy"], _shares(right, theirs[0])
                    ),
                ),
                "by the FID of the winners": (
                    f"{at} {fid(best)} ({best['model']}, {best['steps']} x {best['candidates']}) against {fid(theirs[1])} ({theirs[1]['model']})",
                    _less(order * best["fid"], order * theirs[1]["fid"], either(best, theirs[1])),
                ),
            }
        for what, (ours, verdict) in seen.items():
            found.append(Claim(f"{text}: {what}", BENCH + "search", published, ours, verdict))
    return found


def distilled(table):
    """Distilled against not, and whether a small undistilled one ties a large distilled one at a large cost."""
    cells = [r for n, r in table.items() if n.endswith("ddim")]
    cheap = [r for n, r in table.items() if re.fullmatch(r"\d+ distilled x 4", n)]
    ours, verdict, tie, tied = MISSING, MISSING, MISSING, MISSING
    if cheap and len(cells) == len(scaling.WIDTHS) * len(scaling.STEPS):
        row = min(cheap, key=lambda r: r["fid"])
        equal = min((r for r in cells if r["gflops"] <= row["gflops"]), key=lambda r: r["fid"])
        ours = f"at {1000 * row['gflops']:.0f} MFLOPs {fid(row)} (width {row['width']}, 4 steps) against {fid(equal)} (width {equal['width']}, {equal['steps']} steps)"
        verdict = _less(row["fid"], equal["fid"], either(row, equal))
        small = min((r for r in cells if r["width"] < row["width"]), key=lambda r: r["fid"])
        tie = f"best undistilled one below width {row['width']}: {fid(small)} at {1000 * small['gflops']:.0f} MFLOPs (width {small['width']}), against {fid(row)} at {1000 * row['gflops']:.0f}"
        tied = _less(small["fid"], row["fid"], either(small, row))
    return [
        Claim(
            "Distilled, a model beats every undistilled one at its cost",
            BENCH + "widths",
            "about 5x faster at 4 steps",
            ours,
            verdict,
        ),
        Claim(
            "At a larger cost a smaller undistilled model ties the distilled one",
            BENCH + "widths",
            "cost 8: 83M ties the distilled 866M",
            tie,
            tied,
        ),
    ]


def straightened(table):
    found = []
    for text, key, worth in (
        ("Reflow straightens the paths", "curvature", lambda r: f"{r:.3f}"),
        ("Reflow helps at few steps", "fid", lambda r: f"{r:.1f}"),
    ):
        what = "curvature" if key == "curvature" else "2 steps"
        rows = [
            table.get(f"{name}, {what}") for name in ("tuned teacher", "as many plain steps", "after reflow")
        ]
        values = [row[key] for row in rows] if all(rows) else []
        found.append(
            Claim(
                text,
                BENCH + "reflow",
                "yes (Liu et al. 2022)",
                f"{key} {' / '.join(worth(v) for v in values)} (teacher / as many plain steps / reflow)"
                + ("" if key == "curvature" else f", {what}")
                if values
                else MISSING,
                _said(values[2] < min(values[:2]) if values else None),
            )
        )
    return found


def enlarged(table):
    cells = {(r["width"], r["steps"]): r["fid"] for r in table.values() if "steps" in r}
    complete = len(cells) == len(upscaling.WIDTHS) * len(upscaling.STEPS)
    best = {n: min(upscaling.WIDTHS, key=lambda w, n=n: cells[w, n]) for n in upscaling.STEPS if complete}
    return Claim(
        "Super-resolution: small wins at few steps",
        BENCH + "upscaling",
        "below 20 steps",
        "best width: " + ", ".join(f"{w} at {n}" for n, w in best.items()) + " steps"
        if complete
        else MISSING,
        _said(min(best.values()) < best[max(upscaling.STEPS)] if complete else None),
    )
