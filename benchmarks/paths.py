"""Search over paths against random and zero-order search at equal NFE: score, independent judge, diversity.

    make bench ARGS=paths                 the table of docs/benchmarks/paths.md (second half of the problems)
    make bench ARGS="paths -- --tune"     how the preset `local` was chosen (first half): the best mean rank over the worlds
    make bench ARGS="paths -- --tune --only 'start 0.75, forward 0.2, backward 0.45'"      and how many steps a round

Worlds: the closed-form mixture (200 problems), digits, scenes. Every search is repeated from several seeds. Diversity: on the mixture the
number of modes among the winners (entropy, 1 to 4); on digits recall and the Frechet distance of the winners' features to real digits;
on scenes the mean pixel distance between winners of one prompt. A gain is the mean difference to one sample of the same problem and seed.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import torch
from _mixture import Mixture
from _populations import real_digits
from _trials import World, diversity, interval, jackknife, mean

from noisesearch.demo.worlds import held_out_prompts
from noisesearch.search.algorithms import RandomSearch, SearchOverPaths, ZeroOrder
from noisesearch.search.algorithms.auto import PATHS
from noisesearch.search.algorithms.base import BudgetTooSmall
from noisesearch.search.algorithms.paths import HALF as HALF_THE_STEPS
from noisesearch.search.algorithms.paths import PRESETS

TUNING = 500_000_000  # the digits repeat their prompts, so tuning needs noises of its own
BUDGETS = (4, 8, 16)  # in complete samples
COSINE = 0.7
HALF = "random, half the steps"
MIXTURE_PROBLEMS, PROMPTS, SEEDS = (
    400,
    {"digits": 100, "scenes": 100},
    {"mixture": 1, "digits": 2, "scenes": 2},
)


@dataclass
class Row:
    """The winners of one method at one budget."""

    scores: list[float]
    verdicts: list[float]
    winners: list
    problems: list
    spent: list[int]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", nargs="+", default=["mixture", "digits", "scenes"])
    parser.add_argument(
        "--tune",
        action="store_true",
        help="try settings of search over paths on the first half of the problems",
    )
    parser.add_argument(
        "--only", default="", help="only the searches whose name contains this, for a quick look"
    )
    parser.add_argument("--problems", type=int, default=0, help="fewer problems, for a quick look")
    options = parser.parse_args()
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:  # a world for each of two cores
        tables = [
            pool.submit(table, name, options.tune, options.problems, options.only) for name in options.worlds
        ]
        orders = []
        for done in tables:
            text, order = done.result()
            print(text, flush=True)
            orders.append(order)
    if options.tune:
        print("\n" + ranking(dict(zip(options.worlds, orders))))


def table(name, tuning, limit, only):
    """(the table of one world, the labels of its settings with the best searched score first; none unless tuning)."""
    world, began = Mixture() if name == "mixture" else World(name), time.monotonic()
    world.tuning = tuning
    problems = (
        list(range(MIXTURE_PROBLEMS)) if name == "mixture" else held_out_prompts(name, PROMPTS[name], seed=3)
    )
    half = problems[::2] if tuning else problems[1::2]
    if name == "digits":  # every class in both halves
        half = problems[: len(problems) // 2] if tuning else problems[len(problems) // 2 :]
    half = half[: limit or None]
    lines, order = tune(world, half, only) if tuning else (compare(world, half, only), [])
    title = f"\n### {name}: {len(half)} problems x {SEEDS[name]} seeds, one sample = {nfe_of(world)} NFE ({time.monotonic() - began:.0f} s)\n"
    return "\n".join([title, header(world), *lines]), order


def ranking(orders):
    """The settings by their mean rank over the worlds, among those with the user's steps and among those with steps of their own."""
    ranks = {
        label: [order.index(label) + 1 for order in orders.values()] for label in next(iter(orders.values()))
    }
    lines = [
        "### mean rank of the searched score",
        "",
        f"| settings | {' | '.join(orders)} | mean |",
        "|---|" + "---:|" * (len(orders) + 1),
    ]
    return "\n".join(
        lines
        + [
            f"| {label} | {' | '.join(map(str, rank))} | {sum(rank) / len(rank):.1f} |"
            for label, rank in sorted(ranks.items(), key=lambda item: sum(item[1]))
        ]
    )


def nfe_of(world) -> int:
    return world.candidate_nfe if world.name == "mixture" else world.settings.steps


def trials(world, settings, problems, nfe, steps=None):
    seed = {"mixture": 0, "digits": 50_000, "scenes": 90_000}[world.name] + TUNING * world.tuning
    return [
        world.search(settings, problem, seed + 10_000 * i + 1_000_000 * s, steps=steps, budget_nfe=nfe)
        for i, problem in enumerate(problems)
        for s in range(SEEDS[world.name])
    ]


def rows_of(world, settings, problems, budgets, steps=None):
    """{budget: Row, or None where not even one pass fits}. A search that can end at any moment is run once, at the largest budget; paths once for each."""
    one, found = nfe_of(world), {}
    whole = (
        None
        if isinstance(settings, SearchOverPaths)
        else trials(world, settings, problems, max(budgets) * one, steps)
    )
    for budget in budgets:
        try:
            some = whole or trials(world, settings, problems, budget * one, steps)
        except BudgetTooSmall:
            found[budget] = None
            continue
        picks = [t.best_within(budget * one) if whole else t.winner for t in some]
        found[budget] = Row(
            [t.scores[i] for t, i in zip(some, picks)],
            [t.verdicts[i] for t, i in zip(some, picks)],
            [t.images[i] for t, i in zip(some, picks)],
            [t.prompt for t in some],
            [t.spent_within(budget * one) for t in some],
        )
    return found


def compare(world, problems, only):
    methods = {
        "random": RandomSearch(),
        HALF: RandomSearch(),
        **{f"zero-order N={n}": ZeroOrder(n, COSINE) for n in (2, 4, 8)},
        **{f"paths N={n}": SearchOverPaths(n) for n in (1, 2, 4)},
        "one step a round, as Search: Auto has it": PATHS,
        "paths N=2, the schedule's steps": SearchOverPaths(2, steps=0),
        "paths N=2, preset paper, 4 steps": SearchOverPaths(2, 0, *PRESETS["paper"], 4),
    }
    one = rows_of(world, RandomSearch(), problems, (1,))[1]
    lines = [line(world, "one sample", one)]
    if (
        world.name == "digits"
    ):  # what as many real digits come to: the best that recall and Frechet distance can be
        some = real_digits().points[
            torch.randperm(len(real_digits().points), generator=torch.Generator().manual_seed(0))[
                : len(problems) * SEEDS[world.name]
            ]
        ]
        lines.append(f"| as many real digits | | | | | {' | '.join(populations_columns(some, 1))} |")
    for label, settings in methods.items():
        if only not in label:
            continue
        steps = (
            nfe_of(world) // 2 if label == HALF else None
        )  # rounds of few steps use a coarser solver: what does that alone do for random search?
        for budget, row in rows_of(world, settings, problems, BUDGETS, steps).items():
            lines.append(
                line(world, label, row, one)
                if row
                else f"| {label} | {budget * nfe_of(world)} | a pass does not fit |"
            )
    return lines


def tune(world, problems, only):
    """(lines, labels) of settings of search over paths at the middle budget, best searched score first."""
    grid = itertools.product((0.85, 0.75, 0.6, 0.45), (0.1, 0.2), (0.15, 0.25, 0.4), (0, 3))
    local = PRESETS["local"][0], PRESETS["local"][1], PRESETS["local"][2] - PRESETS["local"][1]
    more = [
        (*PRESETS["paper"][:2], PRESETS["paper"][2] - PRESETS["paper"][1], 4),
        *((*local, steps) for steps in (HALF_THE_STEPS, 2, 4)),
    ]
    tried = []
    for start, forward, net, steps in [*grid, *more]:
        settings = SearchOverPaths(2, 0, start, forward, forward + net, steps)
        label = f"start {start}, forward {forward}, backward {forward + net:.2f}, steps {'half' if steps == HALF_THE_STEPS else steps}"
        if only not in label:
            continue
        row = rows_of(world, settings, problems, (BUDGETS[1],))[BUDGETS[1]]
        tried.append(
            (mean(row.scores)[0], label, line(world, label, row))
            if row
            else (-math.inf, label, f"| {label} | too dear |")
        )
    tried.sort(reverse=True)
    return [text for *_, text in tried], [label for _, label, _ in tried]


def header(world):
    columns = {
        "mixture": ["log-density (judge)", "modes"],
        "digits": ["judge: right", "recall", "Frechet distance"],
        "scenes": ["judge: all right", "diversity"],
    }[world.name]
    return (
        "| search | NFE | score | gain | "
        + " | ".join(columns)
        + " |\n|---|---:|---:|---:|"
        + "---:|" * len(columns)
    )


def line(world, label, row, one=None):
    """one: the Row of one sample, for the gain over it."""
    per = SEEDS[world.name]
    columns = [
        "{:.4f} ± {:.4f}".format(*mean(row.scores, per)),
        ""
        if one is None
        else "{:.4f} ± {:.4f}".format(*mean([a - b for a, b in zip(row.scores, one.scores)], per)),
    ]
    if world.name == "mixture":
        columns += [
            "{:.3f} ± {:.3f}".format(*mean(row.verdicts, per)),
            "{:.2f} ± {:.2f}".format(*jackknife(modes, torch.tensor(world.modes(row.winners)), per)),
        ]
    else:
        columns += [interval(row.verdicts, per)]
    if world.name == "digits":
        columns += populations_columns(real_digits().image_features(torch.stack(row.winners)), per)
    if world.name == "scenes":
        of_prompt = defaultdict(list)
        for prompt, image in zip(row.problems, row.winners):
            of_prompt[prompt].append(image)
        columns += ["{:.3f} ± {:.3f}".format(*mean(diversity(images) for images in of_prompt.values()))]
    return f"| {label} | {sum(row.spent) / len(row.spent):.0f} | " + " | ".join(columns) + " |"


def populations_columns(features, per):
    """Recall and Frechet distance of digits, by their features."""
    return [
        "{:.2f} ± {:.2f}".format(*jackknife(real_digits().recall, features, per)),
        "{:.1f} ± {:.1f}".format(*jackknife(real_digits().frechet, features, per)),
    ]


def modes(found):
    """exp of the entropy of mode indices [N]: how many modes there are, in effect."""
    counts = found.bincount().double()
    return float(torch.exp(torch.special.entr(counts / counts.sum()).sum()))


if __name__ == "__main__":
    main()
