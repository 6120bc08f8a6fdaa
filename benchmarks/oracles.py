"""What a search does to a whole population of digits: with the metric itself as its judge, and with a classifier (the paper's figures 3 and 4 in miniature).

    make bench ARGS=oracles

Random search, 30 images of each digit, one search each. FID and Inception Score (IS) are computed with the digits' independent judge, FID against
2000 real digits in 16 principal axes of its features. Two oracles choose by the very metric: minus the FID of the set so far with the candidate
added, and the probability of the wanted class. The classifier is another network that saw other digits; it judges image by image and knows
nothing of the population. Precision: share of the winners that lie among real digits. Recall: share of real digits that lie among the winners.
"""

from __future__ import annotations

import argparse
import time

import torch
from _populations import inception_score, real_digits
from _trials import World, interval, jackknife, mean

from noisesearch.demo.worlds import held_out_prompts
from noisesearch.search.algorithms import RandomSearch
from noisesearch.verifiers.ensemble import Ensemble
from noisesearch.verifiers.judges.frechet import FrechetOracle

COUNTS = (1, 2, 4, 8, 16, 32)
GREEDY_COUNTS = COUNTS[:-1]  # the FID oracle's choices depend on each other: every count is a run of its own
SEED = 200_000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images", type=int, default=300, help="images per population; a multiple of 10 has all digits alike"
    )
    options = parser.parse_args()
    began, world, prompts = time.monotonic(), World("digits"), held_out_prompts("digits", options.images)
    lines = [line(world, f"FID oracle | {count}", *by_fid(world, prompts, count)) for count in GREEDY_COUNTS]
    both = Ensemble((world.judge, world.verifier), (1.0, 1.0))
    trials = [
        world.search(RandomSearch(), prompt, SEED + 1000 * i, both, candidates=max(COUNTS))
        for i, prompt in enumerate(prompts)
    ]
    for column, label in enumerate(("IS oracle", "classifier")):
        for count in COUNTS:
            picks = [
                max(range(count), key=lambda i: trial.rows[i][column]) for trial in trials
            ]  # random search of fewer is the beginning of one of more
            lines.append(
                line(
                    world,
                    f"{label} | {count}",
                    [t.images[i] for t, i in zip(trials, picks)],
                    [t.verdicts[i] for t, i in zip(trials, picks)],
                )
            )
    print(
        f"\n{len(prompts)} images a row, {world.settings.steps} NFE a candidate ({time.monotonic() - began:.0f} s)\n"
    )
    print(
        "| chosen by | candidates | FID | IS | precision | recall | judge: right |\n|---|---:|---:|---:|---:|---:|---:|"
    )
    print("\n".join(lines))


def by_fid(world, prompts, count):
    """Winners and verdicts when each search takes the candidate that brings the set so far nearest to real digits."""
    oracle, images, verdicts = FrechetOracle(real_digits(), real_digits().statistics), [], []
    for i, prompt in enumerate(prompts):
        trial = world.search(RandomSearch(), prompt, SEED + 1000 * i, oracle, candidates=count)
        images.append(trial.images[trial.winner])
        verdicts.append(trial.verdicts[trial.winner])
        oracle.accept(images[-1][None])
    return images, verdicts


def line(world, label, images, verdicts):
    real, images = real_digits(), torch.stack(images)
    features, classes = real.image_features(images), world.judge.classify(images)[0].exp()
    columns = [
        "{:.1f} ± {:.1f}".format(*jackknife(real.frechet, features)),
        "{:.2f} ± {:.2f}".format(*jackknife(inception_score, classes)),
        "{:.2f} ± {:.2f}".format(*mean(real.precision(features))),
        "{:.2f} ± {:.2f}".format(*jackknife(real.recall, features)),
    ]
    return f"| {label} | {' | '.join(columns)} | {interval(verdicts)} |"


if __name__ == "__main__":
    main()
