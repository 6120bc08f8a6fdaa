"""What a search buys: searched score, independent judge and diversity against the number of candidates.

    make bench ARGS=effect      (python tools/dev.py bench effect)

Random search for N = 1 ... 32 candidates, and zero-order search (two cosines, N = 2 and 4 neighbours) at the NFE of 8 and 16, on both demo worlds. Every
prompt is searched from several seeds. The verifier chooses; the judge is another network, trained on other data, that no search sees.
Diversity is the mean pixel distance between the winners that different seeds give for the same prompt.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

from _trials import World, diversity, mean, percent

from noisesearch.demo.worlds import held_out_prompts
from noisesearch.search.algorithms import RandomSearch, ZeroOrder

COUNTS = {"random": (1, 2, 4, 8, 16, 32), "zero-order": (8, 16)}
SEARCHES = {
    "random": RandomSearch(),
    **{f"zero-order N={n} cos={cosine}": ZeroOrder(n, cosine) for cosine in (0.95, 0.7) for n in (2, 4)},
}
PROMPTS = {"digits": 50, "scenes": 50}  # the digits take turns: 5 searches of each class per seed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", nargs="+", default=list(PROMPTS), choices=list(PROMPTS))
    parser.add_argument("--prompts", type=int, default=0, help="prompts per world (default: 50)")
    parser.add_argument("--seeds", type=int, default=2, help="searches per prompt")
    options = parser.parse_args()
    for name in options.worlds:
        world, prompts = World(name), held_out_prompts(name, options.prompts or PROMPTS[name], seed=1)
        began = time.monotonic()
        rows = [
            row
            for label, settings in SEARCHES.items()
            for row in measure(world, label, settings, prompts, options.seeds)
        ]
        print(
            f"\n### {name}: {len(prompts)} prompts x {options.seeds} seeds, {world.settings.steps} NFE a candidate ({time.monotonic() - began:.0f} s)\n"
        )
        print(
            "| search | candidates | NFE | verifier score | judge: all right | diversity |\n|---|---:|---:|---:|---:|---:|"
        )
        print("\n".join(rows))


def measure(world, label, settings, prompts, seeds):
    """A table row for each number of candidates. One search of the most candidates holds all the shorter ones: they are its beginnings."""
    counts = COUNTS[label.split()[0]]
    trials = [
        world.search(settings, prompt, 10_000 * i + 1_000_000 * s, candidates=max(counts))
        for i, prompt in enumerate(prompts)
        for s in range(seeds)
    ]
    for count in counts:
        nfe = count * trials[0].nfe[0]
        best = [trial.best_within(nfe) for trial in trials]
        score, around = mean((trial.scores[b] for trial, b in zip(trials, best)), seeds)
        right = percent((trial.verdicts[b] for trial, b in zip(trials, best)), seeds)
        winners = defaultdict(list)
        for trial, b in zip(trials, best):
            winners[trial.prompt].append(trial.images[b])
        spread, about = mean(diversity(images) for images in winners.values())
        yield f"| {label} | {count} | {nfe} | {score:.3f} ± {around:.3f} | {right} | {spread:.3f} ± {about:.3f} |"


if __name__ == "__main__":
    main()
