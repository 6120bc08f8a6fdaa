"""Every search beside random search at its best number of steps, at equal cost, on worlds that leave something to win.

    make bench ARGS=frontier                                       measure what is missing, then the tables
    make bench ARGS="frontier -- --minutes 20"                     stop measuring after 20 CPU minutes; the next run goes on
    make bench ARGS="frontier -- --tables"                         only the tables, of what is there
    make bench ARGS="frontier -- --tune"                           the same on the problems that settings are chosen on
    make bench ARGS="frontier -- --budgets 32 --problems 64"       at other costs; their rows are kept apart
    make bench ARGS="frontier -- --search my_search.py:MySearch"   yours beside ours; without the class, all that the file makes

Costs are in samples at the user's steps. Who samples candidates with fewer steps pays for rendering the winner at the user's steps; all
winners are judged as rendered so. A row that is in the cache (.cache/frontier) is not measured again. The controls, the main
searches and yours are run with as many seeds as --seeds says, the other searches with one. The race begins at problem FIRST, since earlier ones were looked at while searches were written.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from _trials import ROOT

import torch  # isort: skip
from _frontier_race import REFERENCE, Bench, Contestant, by_the_pack, pools_of, race
from _frontier_rows import Rows
from _frontier_searches import contestants
from _frontier_tables import Results, goal, race_table, tables
from _frontier_worlds import MAKERS

from noisesearch.search.algorithms.base import Search

CACHE = ROOT / ".cache" / "frontier"
BUDGETS = {"mixture": (4, 8, 16, 32), "scenes": (4, 8), "digits": (4, 8)}
FEWER = (4, 8, 16)  # where a sample is dear; with 16 scenes and digits leave nothing to win
FIRST = 128
RACED = ("storyboards", "careless", "scenes", "digits", "mixture")
MORE = (  # beside the race: worlds, and costs where they are not the world's own
    ("storyboards of 3", ()),
    *((name, (cost,)) for name in ("storyboards", "careless") for cost in (2, 32)),
    ("two-step digits", (8, 64)),
)
POOLS = "pools"
CHUNK = 8


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", nargs="+", default=list(RACED), choices=list(MAKERS))
    parser.add_argument("--problems", type=int, default=128, help="problems per world (default: 128)")
    parser.add_argument(
        "--start",
        type=int,
        help=f"the first of them (default: {FIRST}; 0 of those that settings are chosen on)",
    )
    parser.add_argument("--seeds", type=int, default=2, help="of the main searches per problem (default: 2)")
    parser.add_argument("--minutes", type=float, default=0, help="CPU minutes to measure; 0 = to the end")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[""],
        help="contestants whose name contains one of these, and the controls",
    )
    parser.add_argument(
        "--search", nargs="+", default=[], metavar="FILE.py[:CLASS]", help="searches of your own"
    )
    parser.add_argument(
        "--steps", nargs="+", type=int, default=[0, 5], help="of their candidates; 0 = the user's"
    )
    parser.add_argument("--tables", action="store_true", help="measure nothing")
    parser.add_argument(
        "--budgets", nargs="+", type=int, default=[], help="costs in samples, instead of the world's own"
    )
    parser.add_argument("--tune", action="store_true", help="the other half of the problems")
    parser.add_argument("--cache", type=Path, default=CACHE)
    options = parser.parse_args(arguments)
    if options.start is None:
        options.start = 0 if options.tune else FIRST
    kept = {name: rows_of(name, options, options.budgets) for name in options.worlds}
    if not options.tables:
        measure(options, kept)
    print(tables(kept, {name: budgets_of(name, options) for name in options.worlds}))
    if options.worlds == list(RACED) and not options.budgets:
        for name, budgets in MORE:
            rows = rows_of(name, options, budgets)
            if rows.found:
                world = Results(name, rows, budgets or FEWER)
                cheaper = f"\n\n{goal([world])}" if max(world.budgets) < REFERENCE else ""
                print(f"\n{race_table(world)}{cheaper}")


def rows_of(world: str, options, budgets) -> Rows:
    part = "-".join(["tune" if options.tune else "race", *map(str, budgets)])
    return Rows(options.cache / f"{world}-{part}.jsonl".replace(" ", "_"))


def budgets_of(world: str, options) -> tuple[int, ...]:
    return tuple(options.budgets) or BUDGETS.get(world, FEWER)


@torch.inference_mode()
def measure(options, kept):
    """World after world takes its turn, a few problems at a time, so that a run that is broken off has measured all of them."""
    worlds = {name: MAKERS[name]() for name in options.worlds}
    began = time.process_time()
    for repeat in range(options.seeds):
        for first in range(0, options.problems, CHUNK):
            for name, world in worlds.items():
                running = wanted(name, world, options, repeat)
                last = options.start + min(first + CHUNK, options.problems)
                for problem in world.problems(last, options.tune)[options.start + first :]:
                    one(kept[name], world, problem, repeat, budgets_of(name, options), running)
                    if options.minutes and time.process_time() - began > 60 * options.minutes:
                        return
            done = time.process_time() - began
            say = f"seed {repeat}, {first + CHUNK} problems a world, {done / 60:.1f} CPU minutes"
            print(say, file=sys.stderr, flush=True)


def wanted(name, world, options, repeat) -> list[Contestant]:
    found = [
        c
        for c in contestants(name, world)
        if c.control or any(part in c.label for part in options.only) and (c.main or not repeat)
    ]
    return found + [c for spec in options.search for c in of_others(spec, world, options.steps)]


def of_others(spec: str, world, steps: list[int]) -> list[Contestant]:
    """Searches of another file at the user's steps, and with fewer steps a candidate where they put no noise back."""
    path, _, name = (spec, "", "") if spec.endswith(".py") else spec.rpartition(":")
    if not path or not Path(path).is_file():
        raise SystemExit(f"--search takes FILE.py:CLASS, and {spec!r} names no file that is there.")
    found = spec_from_file_location("search_of_others", path)
    module = module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    if name and not hasattr(module, name):
        raise SystemExit(f"{path} has no class {name}.")
    own = [
        one
        for one, of in vars(module).items()
        if isinstance(of, type) and of.__module__ == found.name and hasattr(of, "name")
    ]
    return [
        contestant for one in ([name] if name else own) for contestant in of_other(module, one, world, steps)
    ]


def of_other(module, name: str, world, steps: list[int]) -> list[Contestant]:
    settings = getattr(module, name)()
    most = 1 if getattr(settings, "reinjects", False) else world.steps
    return [
        Contestant(
            f"{name}, {few} steps" if few else name,
            by_the_pack(settings, few or None, not knows_budget(settings)),
        )
        for few in steps
        if few < most
    ]


def knows_budget(settings) -> bool:
    """Whether it plans for its budget. A run of one that does not begins with what a shorter run is."""
    return getattr(type(settings), "plan", Search.plan) is not Search.plan


def one(rows, world, problem, repeat, budgets, running):
    """Measure what is missing of one problem."""
    missing = [
        c for c in running if not rows.has(problem.prompt + f" #{problem.place}", repeat, c.label, budgets)
    ]
    if not missing:
        return
    bench = Bench(world, problem, repeat, budgets)
    name = {
        "problem": problem.prompt + f" #{problem.place}",
        "repeat": repeat,
        "budgets": list(map(str, budgets)),
    }
    found = [{**name, "label": label, **row} for label, row in race(bench, missing).items()]
    if any(c.control for c in missing):
        before = rows.found.get((name["problem"], repeat, POOLS), {}).get("pools", {})
        found.append({**name, "label": POOLS, "pools": before | pools_of(bench), "one": world.steps})
    rows.add(found)


if __name__ == "__main__":
    main()
