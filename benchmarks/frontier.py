"""Every search beside random search at its best number of steps, at equal cost, on worlds that leave something to win.

    make bench ARGS=frontier                                       measure what is missing, then the tables
    make bench ARGS="frontier -- --minutes 20"                     stop measuring after 20 CPU minutes; the next run goes on
    make bench ARGS="frontier -- --tables"                         only the tables, of what is there
    make bench ARGS="frontier -- --tune"                           the same on the problems that settings are chosen on
    make bench ARGS="frontier -- --search my_search.py:MySearch"   yours beside ours

Costs are in samples at the user's steps. Who samples candidates with fewer steps pays for rendering the winner at the user's steps; all
winners are judged as rendered so. A row that is in the cache (.cache/frontier) is not measured again.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from _trials import ROOT

import torch  # isort: skip
from _frontier_race import Bench, Contestant, by_the_pack, pools_of, race
from _frontier_rows import Rows
from _frontier_searches import contestants
from _frontier_tables import tables
from _frontier_worlds import MAKERS

CACHE = ROOT / ".cache" / "frontier"
BUDGETS = {"mixture": (4, 8, 16, 32), "scenes": (4, 8), "digits": (4, 8)}
FEWER = (4, 8, 16)  # where a sample is dear; with 16 scenes and digits leave nothing to win
RACED = ("storyboards", "careless", "scenes", "digits", "mixture")
POOLS = "pools"
CHUNK = 8


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", nargs="+", default=list(RACED), choices=list(MAKERS))
    parser.add_argument("--problems", type=int, default=128, help="problems per world (default: 128)")
    parser.add_argument("--seeds", type=int, default=1, help="searches per problem (default: 1)")
    parser.add_argument("--minutes", type=float, default=0, help="CPU minutes to measure; 0 = to the end")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[""],
        help="contestants whose name contains one of these, and the controls",
    )
    parser.add_argument(
        "--search", nargs="+", default=[], metavar="FILE.py:CLASS", help="searches of your own"
    )
    parser.add_argument("--tables", action="store_true", help="measure nothing")
    parser.add_argument("--tune", action="store_true", help="the other half of the problems")
    parser.add_argument("--cache", type=Path, default=CACHE)
    options = parser.parse_args(arguments)
    part = "tune" if options.tune else "race"
    kept = {name: Rows(options.cache / f"{name}-{part}.jsonl".replace(" ", "_")) for name in options.worlds}
    if not options.tables:
        measure(options, kept)
    print(tables(kept, {name: budgets_of(name) for name in options.worlds}))


def budgets_of(world: str) -> tuple[int, ...]:
    return BUDGETS.get(world, FEWER)


@torch.inference_mode()
def measure(options, kept):
    """World after world takes its turn, a few problems at a time, so that a run that is broken off has measured all of them."""
    worlds = {name: MAKERS[name]() for name in options.worlds}
    began = time.process_time()
    for repeat in range(options.seeds):
        for first in range(0, options.problems, CHUNK):
            for name, world in worlds.items():
                running = wanted(name, world, options)
                for problem in world.problems(options.problems, options.tune)[first : first + CHUNK]:
                    one(kept[name], world, problem, repeat, budgets_of(name), running)
                    if options.minutes and time.process_time() - began > 60 * options.minutes:
                        return
            done = time.process_time() - began
            say = f"seed {repeat}, {first + CHUNK} problems a world, {done / 60:.1f} CPU minutes"
            print(say, file=sys.stderr, flush=True)


def wanted(name, world, options) -> list[Contestant]:
    found = [
        c for c in contestants(name, world) if c.control or any(part in c.label for part in options.only)
    ]
    return found + [c for spec in options.search for c in of_others(spec, world)]


def of_others(spec: str, world) -> list[Contestant]:
    """A class of another file at the user's steps, and with 5 steps a candidate where it puts no noise back."""
    path, _, name = spec.rpartition(":")
    if not path or not Path(path).is_file():
        raise SystemExit(f"--search takes FILE.py:CLASS, and {spec!r} names no file that is there.")
    found = spec_from_file_location("search_of_others", path)
    module = module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    if not hasattr(module, name):
        raise SystemExit(f"{path} has no class {name}.")
    settings = getattr(module, name)()
    found = [Contestant(name, by_the_pack(settings))]
    if not getattr(settings, "reinjects", False):
        found.append(Contestant(f"{name}, 5 steps", by_the_pack(settings, 5)))
    return found


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
        found.append({**name, "label": POOLS, "pools": pools_of(bench), "one": world.steps})
    rows.add(found)


if __name__ == "__main__":
    main()
