"""Is the forecast calibrated, and what does it save to stop by it? Searches of 64 candidates on the demo worlds, none seen before.

    python benchmarks/forecast.py                 samples what output/forecast does not have yet, then prints the tables
    python benchmarks/forecast.py --tune          the same on the prompts that the forecast was made with: other prompts, other seeds

Fixed before the run (this file is the protocol): 600 searches a world, each with its own prompt (digits: the ten in turn) and its own 64 seeds; the
judges' own scores, log-probabilities. A forecast is made after 8, 16 and 32 candidates for 8 more, and for as many again. It is right when the rise of
the best score lies in its 90 % interval; intervals of the share of right ones count a search once, however many forecasts it gave. As a second scale, of
another kind, the same candidates are scored by their log-odds, which have no highest value.

Stopping: every 8 candidates, a search ends when the forecast for all that is left of its 64 is below 0.003 % of what it has gained so far (best minus mean).
Lost is the part of the whole search's gain that it would still have made. Beside it stand two rules that need no forecast: to stop all searches after the
same number of candidates, as many as the forecast spends in the mean; and to stop when 8 candidates in a row brought nothing better.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time

from _trials import ROOT, World, mean, percent  # isort: skip  (finds ComfyUI)
import comfy.sample
import torch

from noisesearch.demo.grammar import describe
from noisesearch.demo.worlds import held_out_prompts, is_held_out, random_scene
from noisesearch.search.forecast import forecast
from noisesearch.verifiers.base import Batch

SIZE = 64  # candidates of a search
SEARCHES = {"tune": 200, "test": 600}  # a world
FIRST_SEED = {"tune": 500_000_000, "test": 900_000_000}
STEPS = {"digits": 12, "scenes": 6}  # scenes: fewer than recommended, or sampling would take an hour
ASKED = ((8, 8), (16, 8), (32, 8), (16, 16), (32, 32))  # candidates so far, candidates more
EVERY = 8  # candidates between two looks at the forecast
ENOUGH = 3e-5  # of what was gained so far; chosen with --tune: log-probabilities end at 0, so most of the gain is made early
FOLDER = ROOT / "output" / "forecast"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--tune", action="store_true", help="the prompts and seeds that the forecast was made with"
    )
    options = parser.parse_args()
    part = "tune" if options.tune else "test"
    pools = {world: pool(world, part) for world in STEPS}
    for scale, change in (("log-probability", lambda score: score), ("log-odds", log_odds)):
        searches = {
            world: [[change(x) for x in row["scores"]] for row in rows] for world, rows in pools.items()
        }
        print(
            f"\n### {scale}\n\n| world | so far | more | interval holds it | width | expected | came |\n|---|---:|---:|---:|---:|---:|---:|"
        )
        told = [line for world, rows in searches.items() for line in calibration(world, rows)]
        print(f"| both, 8 more | | | {overall(searches)} | | | |")
        assert told
        print(
            "\n| world | rule | candidates | compute saved | gain lost | judge: all right |\n|---|---|---:|---:|---:|---:|"
        )
        for world, rows in searches.items():
            stopping(world, rows, [row["right"] for row in pools[world]])


def log_odds(score: float) -> float:
    """Of a log-probability, as fine as single precision tells them."""
    return score - math.log(-math.expm1(min(score, -(2.0**-24))))


def hits(scores: list[float], so_far: int, more: int) -> tuple[bool, dict, float] | None:
    """(whether the interval holds what came, the forecast, what came); None where it says that it cannot know."""
    told = forecast(scores[:so_far], more)
    if "unknown" in told:
        return None
    came = max(0.0, max(scores[so_far : so_far + more]) - max(scores[:so_far]))
    return told["low"] <= came <= told["high"], told, came


def calibration(world: str, searches: list[list[float]]) -> list[str]:
    lines = []
    for so_far, more in ASKED:
        found = [hit for scores in searches if (hit := hits(scores, so_far, more))]
        held = percent(float(hit) for hit, _, _ in found)
        width, expected, came = (
            mean(values)[0]
            for values in zip(*((told["high"] - told["low"], told["gain"], came) for _, told, came in found))
        )
        lines.append(
            f"| {world} | {so_far} | {more} | {held} of {len(found)} | {width:.3g} | {expected:.3g} | {came:.3g} |"
        )
        print(lines[-1], flush=True)
    return lines


def overall(searches: dict[str, list[list[float]]]) -> str:
    """The share of right forecasts for 8 more of all searches; a search counts once."""
    shares = []
    for rows in searches.values():
        for scores in rows:
            found = [hit[0] for so_far, more in ASKED if more == 8 and (hit := hits(scores, so_far, more))]
            shares += [sum(found) / len(found)] if found else []
    share, about = mean(shares)
    return f"**{share:.1%} ± {about:.1%}** of {len(shares)} searches"


def stopping(world: str, searches: list[list[float]], right: list[list[int]]) -> None:
    own = [by_forecast(scores) for scores in searches]
    same = round(sum(own) / len(own))
    rules = {
        "forecast": own,
        f"all after {same}": [same] * len(own),
        "8 in a row brought nothing": [by_patience(scores) for scores in searches],
        "never": [SIZE] * len(own),
    }
    for rule, ends in rules.items():
        whole = [max(scores) - sum(scores) / SIZE for scores in searches]
        lost = [max(scores) - max(scores[:end]) for scores, end in zip(searches, ends)]
        scale = sum(whole) / len(whole)
        share, about = mean(one / scale for one in lost)
        good = percent(
            verdicts[scores.index(max(scores[:end]))] for scores, verdicts, end in zip(searches, right, ends)
        )
        count = sum(ends) / len(ends)
        print(
            f"| {world} | {rule} | {count:.1f} | {1 - count / SIZE:.0%} | {share:.2%} ± {about:.2%} | {good} |",
            flush=True,
        )


def by_forecast(scores: list[float]) -> int:
    """How many candidates it takes."""
    for end in range(EVERY, SIZE, EVERY):
        told = forecast(scores[:end], SIZE - end)
        if "gain" in told and told["gain"] < ENOUGH * (max(scores[:end]) - sum(scores[:end]) / end):
            return end
    return SIZE


def by_patience(scores: list[float]) -> int:
    for end in range(2 * EVERY, SIZE, EVERY):
        if max(scores[end - EVERY : end]) <= max(scores[: end - EVERY]):
            return end
    return SIZE


def prompts_of(world: str, part: str) -> list[str]:
    """Test: held-out scenes. Tune: scenes of the training set."""
    if world == "digits" or part == "test":
        return held_out_prompts(world, SEARCHES[part], seed=12)
    rng = random.Random(11)
    scenes = [
        scene for scene in (random_scene(rng) for _ in range(3 * SEARCHES[part])) if not is_held_out(scene)
    ]
    return [describe(scene) for scene in scenes[: SEARCHES[part]]]


def pool(name: str, part: str) -> list[dict]:
    """[{"prompt", "scores", "right"}] of every search, its candidates in order; from the file where it is there."""
    path = FOLDER / f"{name}_{part}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
    prompts, world, began = prompts_of(name, part), None, time.monotonic()
    with path.open("a", encoding="utf-8") as file:
        for place, prompt in list(enumerate(prompts))[len(rows) :]:
            world = world or World(name)
            rows.append(sample(world, prompt, FIRST_SEED[part] + SIZE * place))
            file.write(json.dumps(rows[-1]) + "\n")
            file.flush()
            if place % 20 == 0:
                print(
                    f"{name}, {part}: {place + 1} of {len(prompts)}, {time.monotonic() - began:.0f} s",
                    flush=True,
                )
    return rows


@torch.inference_mode()
def sample(world: World, prompt: str, seed: int) -> dict:
    settings = world.settings
    positive, negative = (
        world.clip.encode_from_tokens_scheduled(world.clip.tokenize(text)) for text in (prompt, "")
    )
    latent = torch.zeros(SIZE, 16, settings.size // 8, settings.size // 8)
    noise = torch.cat([comfy.sample.prepare_noise(latent[:1], seed + i) for i in range(SIZE)])
    samples = comfy.sample.sample(
        world.model, noise, STEPS[world.name], settings.cfg, settings.sampler, settings.scheduler,
        positive, negative, latent, disable_pbar=True, seed=seed,
    )  # fmt: skip
    batch = Batch(world.vae.decode(samples), prompt)
    right = world.judge.correct(batch).int().tolist()
    return {"prompt": prompt, "scores": world.verifier.score(batch).tolist(), "right": right}


if __name__ == "__main__":
    main()
