"""What the rows of the frontier say, as Markdown."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cached_property

import torch
from _frontier_race import REFERENCE, best_of, from_thumb
from _paired import Paired, holm, paired

from noisesearch.search.drafts import rank_correlation

POOLS, RANDOM, LONGER = "pools", "random, ", "one sample, more steps"
MANY = 100  # evaluations
SHUFFLES = 256  # of the placebos, for each problem
PAPER_1 = (
    "CLIPScore 0.709 -> .739 -> .757 -> .777 -> .790 with 1, 2, 4, 8, 16 candidates; flat with more steps"
)
PAPER_10 = "IS 382, 420, 446, 457, 470 with 10, 25, 50, 100, 250 NFE a candidate at n = 256; at 1000 NFE in all, 50 is best (411), then 100 (404), 250 (383)"
PAPER_6 = "IS at about 13 000 NFE 284 with zero-order N=2 and 296 with N=8, at about 600 NFE the smaller N leads (FID 5.4 with N=2, 6.2 with N=4); paths: small N early, large N late"


class Results:
    """The rows of one world. Problems are what intervals count; seeds and budgets are averaged within them."""

    def __init__(self, name: str, rows, budgets: tuple[int, ...]):
        self.name, self.rows, self.budgets = name, rows, budgets

    @cached_property
    def at(self) -> dict[str, dict[str, dict[int, list[dict]]]]:
        """{label: {problem: {budget: rows, one a seed}}}."""
        found: dict = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
        for row in self.rows.found.values():
            for budget, result in row.get("at", {}).items():
                found[row["label"]][row["problem"]][int(budget)].append(result)
        return found

    @property
    def labels(self) -> list[str]:
        return list(self.at)

    @cached_property
    def pools(self) -> dict[str, dict[str, dict]]:
        """{problem: {steps: scores and quality of the random candidates}}, of the first seed."""
        found: dict = {}
        for row in self.rows.found.values():
            if row["label"] == POOLS and row["repeat"] == 0:
                found[row["problem"]] = row["pools"]
        return found

    @property
    def one(self) -> int:
        """Steps of the user."""
        return next((row["one"] for row in self.rows.found.values() if row["label"] == POOLS), 0)

    @property
    def controls(self) -> list[str]:
        """Those that were run on as many problems as any, so that all are compared on the same."""
        found = [label for label in self.at if label.startswith(RANDOM) and label.endswith("steps")]
        most = max((len(self.at[label]) for label in found), default=0)
        return [label for label in found if len(self.at[label]) == most]

    def quality(self, label: str, problem: str, budget: int) -> float:
        rows = self.at[label][problem][budget]
        return math.fsum(row["quality"] for row in rows) / len(rows)

    def fits(self, label: str) -> tuple[int, ...]:
        """The budgets that it can be run at."""
        there = {budget for of in self.at[label].values() for budget, rows in of.items() if rows}
        return tuple(budget for budget in self.budgets if budget in there)

    def pooled(self, label: str, problem: str, budgets: Iterable[int]) -> float:
        values = [self.quality(label, problem, budget) for budget in budgets]
        return math.fsum(values) / len(values)

    def share(self, label: str, budget: int) -> float | None:
        found = [
            self.quality(label, problem, budget) for problem, of in self.at[label].items() if of.get(budget)
        ]
        return math.fsum(found) / len(found) if found else None

    @cached_property
    def best_control(self) -> str:
        """By its mean over all budgets and problems."""
        return max(self.controls, key=lambda label: self._mean(label))

    def _mean(self, label: str) -> float:
        return math.fsum(self.share(label, budget) or 0.0 for budget in self.budgets)

    def best_control_of(self, label: str) -> str:
        """The best one on the very problems and budgets that a search was run at: that favours the control."""
        if label in self.controls:
            return self.best_control
        budgets = self.fits(label)

        def mean(control: str) -> float:
            there = [problem for problem in self.at[label] if problem in self.at[control]]
            return math.fsum(self.pooled(control, problem, budgets) for problem in there) / max(len(there), 1)

        return max((one for one in self.controls if set(budgets) <= set(self.fits(one))), key=mean)

    def difference(self, label: str, control: str | None = None) -> Paired | None:
        """To a control at the same cost, averaged over the budgets that it can be run at."""
        control = control or self.best_control_of(label)
        budgets = self.fits(label)
        both = [problem for problem in self.at[label] if problem in self.at[control]]
        if len(both) < 2 or not budgets:
            return None
        return paired(
            [
                self.pooled(label, problem, budgets) - self.pooled(control, problem, budgets)
                for problem in both
            ]
        )

    def cheaper(self, label: str, budget: int) -> Paired | None:
        """To random search at the user's steps with REFERENCE samples, at the cost of `budget`."""
        dear = f"{RANDOM}{self.one} steps"
        both = [
            problem
            for problem, of in self.at[label].items()
            if of.get(budget) and self.at[dear].get(problem, {}).get(REFERENCE)
        ]
        if len(both) < 2:
            return None
        return paired([self.quality(label, p, budget) - self.quality(dear, p, REFERENCE) for p in both])

    def placebo(self, permuted: bool) -> Paired | None:
        """What a search by random numbers, or by scores dealt to the wrong candidates, is worth, against a candidate taken blindly."""
        differences, rng = [], random.Random(0)
        for pools in self.pools.values():
            pool = pools.get(str(self.one))
            if pool is None:
                continue
            scores, quality = list(pool["scores"]), pool["quality"]
            counts = [budget for budget in self.budgets if budget <= len(scores)]
            plain = math.fsum(math.fsum(quality[:count]) / count for count in counts) / len(counts)
            found = 0.0
            for _ in range(SHUFFLES):
                if permuted:
                    rng.shuffle(scores)
                else:
                    scores = [rng.random() for _ in scores]
                found += math.fsum(quality[best_of(scores, count)] for count in counts) / len(counts)
            differences.append(found / SHUFFLES - plain)
        return paired(differences) if len(differences) > 1 else None

    def diversity(self, label: str) -> float | None:
        """Mean root-mean-square distance between the winners of two seeds of one problem, at the middle budget."""
        budget = self.budgets[len(self.budgets) // 2]
        spreads = []
        for of in self.at[label].values():
            rows = of.get(budget, [])
            if len(rows) > 1:
                flat = torch.stack([from_thumb(row["thumb"]) for row in rows])
                spreads.append(float(torch.pdist(flat).mean()) / math.sqrt(flat.shape[1]))
        return math.fsum(spreads) / len(spreads) if spreads else None

    def judged(self, label: str) -> str:
        """How many images its verifier looks at, at each cost."""
        counts = []
        for budget in self.budgets:
            rows = [row for of in self.at[label].values() for row in of.get(budget, [])]
            counts.append(f"{math.fsum(row['judged'] for row in rows) / len(rows):.0f}" if rows else "")
        return " / ".join(counts)

    def seconds(self, label: str) -> float:
        found = [row["seconds"] for row in self.rows.found.values() if row["label"] == label]
        return math.fsum(found) / len(found)


def tables(kept: dict, budgets: dict[str, tuple[int, ...]]) -> str:
    worlds = [Results(name, rows, budgets[name]) for name, rows in kept.items() if rows.found]
    worlds = [world for world in worlds if world.controls]
    if not worlds:
        return "Nothing has been measured yet."
    parts = [summary(worlds), *(race_table(world) for world in worlds)]
    parts += [
        overall(worlds, "all budgets"),
        many(worlds),
        goal(worlds),
        placebos(worlds),
        particles(worlds),
        correlations(worlds),
    ]
    parts += [figure_1(worlds), figure_6(worlds), figure_10(worlds)]
    return "\n\n".join(part for part in parts if part)


def table(columns: list[str], lines: Iterable[list[str]]) -> str:
    head = f"| {' | '.join(columns)} |\n|---|" + "---:|" * (len(columns) - 1)
    return "\n".join([head, *(f"| {' | '.join(line)} |" for line in lines)])


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f}"


def points(found: Paired | None) -> str:
    return "" if found is None else found.points()


SHOWN = {  # by README: what it says, and the row
    "random seeds, all steps": "random, {} steps",
    "random seeds, drafts of 3 steps": "random, 3 steps",
    "the same, the best 2 rendered": "random, 3 steps, best 2 rendered",
    "random seeds, drafts of 4 steps": "random, 4 steps",
    "evolution, drafts of 4 steps": "evolution, 4 steps",
    "search over paths, 2 paths": "paths N=2",
    "the best of many seeds, then 1 path": "seeds, then paths N=1",
    "Search: Auto": "Search: Auto",
}


def summary(worlds: list[Results]) -> str:
    """The few rows that README shows, of the worlds that leave something to win."""
    shown = [world for world in worlds if REFERENCE in world.budgets and world.name != "mixture"]
    lines = []
    for said, label in SHOWN.items():
        cells, counts = [], []
        for world in shown:
            own = label.format(world.one)
            there = own in world.labels
            cells += [percent(world.share(own, budget)) if there else "" for budget in world.budgets]
            cells.append(points(world.difference(own)) if there and own != world.best_control else "")
            counts.append(str(len(world.at[own])) if there else "")
        lines.append([said, *cells, " / ".join(counts)])
    costs = [f"{w.name}: {c}" for w in shown for c in (*map(str, w.budgets), "to the best control")]
    title = "### In short: all right, in %, at the cost of so many samples"
    return f"{title}\n\n{table(['search', *costs, 'problems'], lines)}"


def race_table(world: Results) -> str:
    count = len(world.at[world.best_control])
    lines = []
    for label in sorted(world.labels, key=lambda label: label not in world.controls):
        if label == LONGER:
            continue
        fits = world.fits(label)
        note = f" (from {fits[0]})" if fits and fits != world.budgets else ""
        name = f"**{label}**" if label == world.best_control else label
        measured = len(world.at[label])
        lines.append(
            [
                name + note + (f", {measured} problems" if measured < count else ""),
                *(percent(world.share(label, budget)) for budget in world.budgets),
                "0" if label == world.best_control else points(world.difference(label)),
                _number(world.diversity(label)),
                world.judged(label),
                f"{world.seconds(label):.2f}",
            ]
        )
    columns = [
        "search",
        *(f"cost of {b}" for b in world.budgets),
        "to the best control",
        "diversity",
        "images judged",
        "CPU s",
    ]
    title = f"### {world.name}: {count} problems, one sample = {world.one} NFE"
    return f"{title}\n\n{table(columns, lines)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def many(worlds: list[Results]) -> str:
    """The same where there is much to spend: what climbs needs time."""
    costs = {world.name: tuple(b for b in world.budgets if b * world.one >= MANY) for world in worlds}
    some = [Results(world.name, world.rows, costs[world.name]) for world in worlds if costs[world.name]]
    return overall(some, f"budgets of {MANY} evaluations or more") if some else ""


def overall(worlds: list[Results], which: str) -> str:
    """Difference to each world's best control, with p values adjusted over the worlds; and over all worlds, each worth the same."""
    labels = dict.fromkeys(label for world in worlds for label in world.labels if label not in world.controls)
    lines = []
    for label in labels:
        found = {w.name: w.difference(label) for w in worlds if label in w.labels and label != LONGER}
        there = {name: one for name, one in found.items() if one is not None}
        if not there:
            continue
        adjusted = dict(zip(there, holm([one.p for one in there.values()])))
        cells = []
        for world in worlds:
            one = there.get(world.name)
            mark = "*" if one and adjusted[world.name] < 0.05 else ""
            cells.append(points(one) + mark)
        lines.append([label, *cells, over_all(list(there.values()))])
    title = f"### To the best control, {which}, in points\n\nThe best controls over all problems: "
    title += "; ".join(f"{world.name} {world.best_control.removeprefix(RANDOM)}" for world in worlds)
    title += ". Each search is held against the best one on the problems and costs that it was run at. "
    title += "`*`: not 0 at 5 % after Holm's correction over the worlds."
    return f"{title}\n\n{table(['search', *(w.name for w in worlds), 'all'], lines)}"


def over_all(found: list[Paired]) -> str:
    """Of several worlds, each worth the same."""
    mean = math.fsum(one.mean for one in found) / len(found)
    error = math.sqrt(math.fsum((one.high - one.low) ** 2 for one in found)) / 2 / len(found)
    return f"{100 * mean:+.1f} [{100 * (mean - error):+.1f}, {100 * (mean + error):+.1f}]"


def goal(worlds: list[Results]) -> str:
    """How near lower costs come to random search with 16 samples at the user's steps."""
    labels = dict.fromkeys(label for world in worlds for label in world.labels if label != LONGER)
    lines = []
    for label in labels:
        for budget in sorted({b for world in worlds for b in world.budgets if b < REFERENCE}):
            found = [world.cheaper(label, budget) if label in world.labels else None for world in worlds]
            if any(found):
                lines.append([f"{label}, cost of {budget}", *(points(one) for one in found)])
    title = f"### Against random search at the user's steps with {REFERENCE} samples, in points"
    return f"{title}\n\n{table(['search', *(world.name for world in worlds)], lines)}"


def placebos(worlds: list[Results]) -> str:
    rows = [("a random judge", False), ("scores dealt to the wrong candidates", True)]
    lines = [[label, *(points(world.placebo(permuted)) for world in worlds)] for label, permuted in rows]
    title = "### Placebos, against one candidate taken blindly, in points: they must be 0"
    return f"{title}\n\n{table(['placebo', *(world.name for world in worlds)], lines)}"


def particles(worlds: list[Results]) -> str:
    """Whether it is the noise on the way that particles live on: against random search with the same sampler."""
    pairs = {
        "euler_ancestral": ("particles, euler_ancestral", "random, euler_ancestral"),
        "euler, which draws none": ("particles, euler (no noise on the way)", "random, {} steps"),
    }
    lines = []
    for world in worlds:
        for sampler, (label, control) in pairs.items():
            control = control.format(world.one)
            if label in world.labels and control in world.labels:
                lines.append([f"{world.name}: {sampler}", points(world.difference(label, control))])
    title = "### Particles against random search with the same sampler, in points"
    return f"{title}\n\n{table(['sampler', 'all budgets'], lines)}" if lines else ""


def correlations(worlds: list[Results]) -> str:
    """Rank correlation, within a problem, between the score of a draft and of the same noise at the user's steps."""
    lines = []
    for steps in sorted({int(s) for w in worlds for pools in w.pools.values() for s in pools}):
        cells = []
        for world in worlds:
            found = []
            for pools in world.pools.values():
                draft, final = pools.get(str(steps)), pools.get(str(world.one))
                if draft and final and steps != world.one:
                    both = min(len(draft["scores"]), len(final["scores"]))
                    found.append(rank_correlation(draft["scores"][:both], final["scores"][:both]))
            cells.append(f"{math.fsum(found) / len(found):.2f}" if found else "")
        if any(cells):
            lines.append([f"{steps} steps", *cells])
    title = "### Rank correlation of a draft's score with that of its rendering, within a problem"
    return f"{title}\n\n{table(['draft', *(world.name for world in worlds)], lines)}"


def figure_1(worlds: list[Results]) -> str:
    lines = []
    for world in worlds:
        if LONGER not in world.labels:
            continue
        more = [world.share(LONGER, budget) for budget in (1, 2, 4)]
        counts = [1, 2, 4, 8, 16]
        best = [_best_of_groups(world, count) for count in counts]
        lines.append([world.name, *(percent(v) for v in more), *(percent(v) for v in best)])
    if not lines:
        return ""
    columns = ["world", "the user's steps", "x 2", "x 4", *(f"best of {n}" for n in (1, 2, 4, 8, 16))]
    title = f"### The paper's figure 1 in miniature: more steps stop helping, more candidates do not\n\nThe paper (FLUX): {PAPER_1}."
    return f"{title}\n\n{table(columns, lines)}"


def _best_of_groups(world: Results, count: int) -> float | None:
    """Of all whole groups of so many candidates, one after the other."""
    found = []
    for pools in world.pools.values():
        pool = pools[str(world.one)]
        for start in range(0, len(pool["scores"]) - count + 1, count):
            scores = pool["scores"][start : start + count]
            found.append(pool["quality"][start + best_of(scores, count)])
    return math.fsum(found) / len(found) if found else None


def figure_6(worlds: list[Results]) -> str:
    lines = []
    for world in worlds:
        families: list[tuple[str, Callable[[str], bool]]] = [
            ("zero-order", lambda label: label.startswith("zero-order N=") and "," not in label),
            ("paths", lambda label: label.startswith("paths N=") and "," not in label),
        ]
        for _, of in families:
            labels = sorted(label for label in world.labels if of(label))
            if len(labels) > 1:
                lines += [
                    [f"{world.name}: {label}", *(percent(world.share(label, b)) for b in world.budgets)]
                    for label in labels
                ]
    if not lines:
        return ""
    most = max((world.budgets for world in worlds), key=len)
    title = f"### The paper's figure 6 in miniature: how many neighbours, how many paths\n\nThe paper (SiT-XL): {PAPER_6}."
    return f"{title}\n\n{table(['search', *(f'cost of {b}' for b in most)], lines)}"


def figure_10(worlds: list[Results]) -> str:
    budgets, lines = (4, 8, 16, 32), []
    for world in worlds:
        for label in sorted(world.controls, key=lambda label: int(label.split()[1])):
            fits = {*world.budgets, *([REFERENCE] if label == f"{RANDOM}{world.one} steps" else [])}
            cells = [percent(world.share(label, budget)) if budget in fits else "" for budget in budgets]
            lines.append([f"{world.name}: {label.removeprefix(RANDOM)}", *cells])
    title = f"### The paper's figure 10 in miniature: steps a candidate\n\nThe paper (SiT-XL): {PAPER_10}."
    return f"{title}\n\n{table(['random search', *(f'cost of {b}' for b in budgets)], lines)}"
