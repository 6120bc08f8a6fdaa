"""What each verifier alone does to what the others see, and what the ensemble does (the paper's figure 8 and table 2 in miniature), on scenes; and how fast each is.

    make bench ARGS=verifiers

Random search. All verifiers score all candidates, so the winner of each alone is known from one search per prompt; the ensemble (average rank
of the first three) drives it. A gain is the winner's score less the mean candidate's, in standard deviations between the candidates of its prompt.
The judge is another network, trained on other data, that no search sees.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch
from _trials import ROOT, World, interval, mean

from noisesearch.demo.worlds import held_out_prompts
from noisesearch.search.algorithms import RandomSearch
from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.catalogue import load_clip, load_verifier
from noisesearch.verifiers.ensemble import Ensemble
from noisesearch.verifiers.judges.imagenet import ImageNetClassifier
from noisesearch.verifiers.judges.reference import ReferenceSimilarity
from noisesearch.verifiers.judges.self_supervised import SelfSupervised
from noisesearch.verifiers.judges.text_match import TextMatch
from noisesearch.verifiers.judges.zero_shot import TEMPLATES, ZeroShotClassifier
from noisesearch.verifiers.networks.imagenet import EfficientNetLite0

sys.path.insert(0, str(ROOT / "tests"))
import photos  # noqa: E402

CLIP = "scenes-clip"
IMAGES, ROUNDS = 4, 3  # timed at once, and how often


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=80)
    parser.add_argument("--candidates", type=int, default=16)
    options = parser.parse_args()
    began, world, prompts = (
        time.monotonic(),
        World("scenes"),
        held_out_prompts("scenes", options.prompts, seed=4),
    )
    members = (
        world.verifier,
        load_verifier("CLIPScore", CLIP),
        load_verifier("image quality (BRISQUE)"),
        SelfSupervised(load_clip("self-supervised", CLIP)),
    )
    ensemble = Ensemble(members, (1.0, 1.0, 1.0, 0.0))  # the last is reported only
    trials = [
        world.search(RandomSearch(), prompt, 300_000 + 1000 * i, ensemble, candidates=options.candidates)
        for i, prompt in enumerate(prompts)
    ]
    print(
        f"\n### Gains: {len(prompts)} prompts, {options.candidates} candidates of {world.settings.steps} NFE ({time.monotonic() - began:.0f} s)\n"
    )
    print("\n".join(gains([member.name for member in members], trials)))
    print(f"\n### Speed: {IMAGES} images at once, one CPU core, best of {ROUNDS}\n")
    print("| verifier | image | ms per image |\n|---|---|---:|")
    for judge, batch in timed(world, members, trials):
        print(
            f"| {judge.name} | {batch.images.shape[2]} x {batch.images.shape[1]} | {milliseconds(judge, batch):.1f} |",
            flush=True,
        )


def gains(names, trials):
    """A row for one sample, each verifier alone, and the ensemble."""
    scores = torch.tensor(
        [trial.rows for trial in trials], dtype=torch.float64
    )  # [prompts, candidates, verifiers]
    gain = (scores - scores.mean(1, keepdim=True)) / scores.std(1, keepdim=True)
    picks = {
        **{name: scores[..., i].argmax(1).tolist() for i, name in enumerate(names)},
        "ensemble": [trial.winner for trial in trials],
    }
    yield "| chosen by | " + " | ".join(names) + " | judge: all right |\n|---|" + "---:|" * (len(names) + 1)
    everything = [verdict for trial in trials for verdict in trial.verdicts]
    yield "| nobody | " + "0 | " * len(names) + f"{sum(everything) / len(everything):.0%} |"
    for label, places in picks.items():
        columns = [
            "{:+.2f} ± {:.2f}".format(*mean(gain[range(len(trials)), places, i])) for i in range(len(names))
        ]
        right = interval(trial.verdicts[i] for trial, i in zip(trials, places))
        yield f"| {label} | " + " | ".join(columns) + f" | {right} |"


def timed(world, members, trials):
    """(verifier, what to score) of all that run without downloads: the demo's on its own images, the others on photos."""
    scenes = Batch(
        torch.stack(trials[0].images[:IMAGES]), trials[0].prompt, torch.stack(trials[0].images[:IMAGES])
    )
    digits = Batch(scenes.images, "digit seven")
    lite0, large = EfficientNetLite0(), Batch(shown(512), "a tiger cat")
    yield from ((member, scenes) for member in members)
    yield (
        ZeroShotClassifier(
            load_clip("zero-shot", CLIP), ["a red circle", "a blue star"], "a blue star", TEMPLATES, True
        ),
        scenes,
    )
    yield World("digits").verifier, digits
    yield members[2], large
    yield ImageNetClassifier(lite0, "", False), large
    yield ReferenceSimilarity(lite0, large.images[:1]), large
    yield TextMatch("NASA", False), large


def shown(size):
    """A photo, over and over, `size` pixels wide and high."""
    photo = torch.from_numpy(photos.photo("astronaut").copy()).float().div(255).movedim(-1, 0)[None]
    return (
        torch.nn.functional.interpolate(photo, (size, size), mode="bilinear")
        .movedim(1, -1)
        .repeat(IMAGES, 1, 1, 1)
    )


def milliseconds(judge, batch):
    """Time per image once everything is loaded; each round gets images that no verifier has seen."""
    seconds = []
    for _ in range(ROUNDS + 1):
        fresh = Batch(
            batch.images.clone(), batch.prompt, None if batch.previews is None else batch.previews.clone()
        )
        began = time.perf_counter()
        judge.score(fresh)
        seconds.append(time.perf_counter() - began)
    return 1000 * min(seconds[1:]) / len(batch.images)


if __name__ == "__main__":
    main()
