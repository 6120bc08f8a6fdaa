"""How well a draft of few steps foretells the score of the finished image: the prior of `draft_steps = -1` in search/drafts.py.

    make bench ARGS=drafts      (python tools/dev.py bench drafts)

Every prompt is sampled from the same seeds with few steps and with many; of each prompt the rank correlation (Spearman) between the
scores is taken, and over prompts the mean on Fisher's scale. The verifier scores both; nothing is selected. Held-out prompts of both worlds.
"""

from __future__ import annotations

import argparse
import math
import time

import torch
from _trials import World, jackknife

from noisesearch.demo.worlds import held_out_prompts
from noisesearch.search.algorithms import RandomSearch
from noisesearch.search.drafts import rank_correlation

DRAFTS, FULL = (3, 4, 5, 7, 10, 15), (15, 20)
MOST = 0.995  # a correlation of a few pairs that is counted as 1 would outweigh all others


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", nargs="+", default=["digits", "scenes"])
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=16, help="samples of each prompt")
    options = parser.parse_args()
    means: dict[tuple[int, int], list[float]] = {}
    for name in options.worlds:
        world, began = World(name), time.monotonic()
        prompts = held_out_prompts(name, options.prompts, seed=5)
        scores = {steps: _scores(world, prompts, steps, options.seeds) for steps in {*DRAFTS, *FULL}}
        print(
            f"\n### {name}: {len(prompts)} prompts x {options.seeds} seeds, {world.settings.sampler}, cfg {world.settings.cfg}"
            f" ({time.monotonic() - began:.0f} s)\n\n| steps of a draft | rank correlation to 15 steps | to 20 steps |\n|---:|---:|---:|"
        )
        for draft in DRAFTS:
            cells = []
            for full in FULL:
                if draft >= full:
                    cells.append("")
                    continue
                z = torch.tensor(
                    [_fisher(rank_correlation(a, b)) for a, b in zip(scores[draft], scores[full])],
                    dtype=torch.float64,
                )
                rho, about = jackknife(lambda some: math.tanh(float(some.mean())), z)
                means.setdefault((draft, full), []).append(float(z.mean()))
                cells.append(f"{rho:.2f} ± {about:.2f}")
            print(f"| {draft} | {' | '.join(cells)} |", flush=True)
    prior = {draft: math.tanh(sum(z) / len(z)) for (draft, full), z in means.items() if full == FULL[-1]}
    print("\nPRIOR = {" + ", ".join(f"{draft}: {rho:.2f}" for draft, rho in sorted(prior.items())) + "}")


def _scores(world, prompts, steps, seeds):
    """[prompts][seeds]: the verifier's scores of the same noises."""
    return [
        world.search(RandomSearch(), prompt, 10_000 * i, steps=steps, candidates=seeds).scores
        for i, prompt in enumerate(prompts)
    ]


def _fisher(rho: float) -> float:
    return math.atanh(max(min(rho, MOST), -MOST))


if __name__ == "__main__":
    main()
