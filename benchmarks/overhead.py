"""What the search itself costs: over bare batched sampling of the same candidates, and against a search written down plainly.

CPU time on one core, interleaved, on the embedded models. Decoding and verdicts are measured apart: both sides pay them.

make bench ARGS=overhead          about 10 minutes on one idle core
make bench ARGS="overhead -- --quick"    a minute, with wider intervals
make bench ARGS="overhead -- --before CHECKOUT"    beside the pack of another checkout
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import subprocess
import sys
import time
from pathlib import Path

from _trials import World  # the first: it finds ComfyUI

import comfy.sample
import comfy.samplers
import torch
from _naive import Naive

from noisesearch.search.algorithms import RandomSearch, ZeroOrder
from noisesearch.session.run import Wishes, search_images
from noisesearch.verifiers.base import Batch, Verifier

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CANDIDATES, ROWS, AT_ONCE, RANDOM = 64, 16, 32, RandomSearch()
NEIGHBOURS, ROUNDS, COSINE, CHAINS = 4, 8, 0.7, 8
WIDTH, LEAST, MOST = 0.02, 12, 200  # of the interval; pairs of runs
GOALS = {"digits": 1.06, "scenes": 1.03}


class Apart:
    """CPU seconds spent in functions that are not counted as overhead."""

    def __init__(self):
        self.seconds = {"decode": 0.0, "verdict": 0.0}

    def timed(self, what, function):
        def timing(*args, **kwargs):
            began = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[what] += time.process_time() - began

        return timing

    @property
    def total(self):
        return sum(self.seconds.values())


class Timed(Verifier):
    """The world's verifier, its time taken down."""

    def __init__(self, verifier, apart):
        self.name, self.needs_prompt = verifier.name, verifier.needs_prompt
        self._score = apart.timed("verdict", verifier.score)

    def score(self, batch):
        return self._score(batch)


class Bench:
    """A demo world with a stock guider, and the ways to search it."""

    def __init__(self, name):
        self.world = World(name)
        settings, model, clip = self.world.settings, self.world.model, self.world.clip
        self.prompt = settings.examples[0]
        self.guider = comfy.samplers.CFGGuider(model)
        self.guider.set_conds(
            *(clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (self.prompt, ""))
        )
        self.guider.set_cfg(settings.cfg)
        self.sampler = comfy.samplers.sampler_object(settings.sampler)
        self.sigmas = comfy.samplers.KSampler(
            model,
            settings.steps,
            model.load_device,
            settings.sampler,
            settings.scheduler,
            1.0,
            model.model_options,
        ).sigmas
        self.latent = torch.zeros(1, 16, settings.size // 8, settings.size // 8)

    def bare(self, seed, apart, batches=(ROWS,) * (CANDIDATES // ROWS)):
        """As many candidates as a search, in batches of the same sizes, with stock calls only."""
        decode = apart.timed("decode", self.world.vae.decode)
        judge = apart.timed("verdict", self.world.verifier.score)
        for rows in batches:
            noise = torch.cat([comfy.sample.prepare_noise(self.latent, seed + i) for i in range(rows)])
            seed += rows
            samples = self.guider.sample(
                noise,
                self.latent.repeat(rows, 1, 1, 1),
                self.sampler,
                self.sigmas,
                seed=seed,
                disable_pbar=True,
            )
            judge(Batch(decode(samples), self.prompt))

    def ours(self, seed, apart, search=RANDOM, candidates=CANDIDATES, rows=ROWS):
        found = search_images(
            self.guider,
            self.sampler,
            self.sigmas,
            {"samples": self.latent},
            seed,
            search,
            Timed(self.world.verifier, apart),
            TimedVae(self.world.vae, apart),
            self.prompt,
            Wishes(candidates=candidates, batch_size=rows, keep_top=1),
        )
        assert len(found.report["images"][0]["candidates"]) == candidates

    def naive(self, apart):
        return Naive(
            self.guider,
            self.sampler,
            self.sigmas,
            self.latent,
            apart.timed("decode", self.world.vae.decode),
            apart.timed("verdict", lambda images: self.world.verifier.score(Batch(images, self.prompt))),
        )


class TimedVae:
    def __init__(self, vae, apart):
        self.decode = apart.timed("decode", vae.decode)


def cpu(run):
    """(seconds without decodes and verdicts, seconds in all, Apart) of run(apart)."""
    apart, began = Apart(), time.process_time()
    run(apart)
    spent = time.process_time() - began
    return spent - apart.total, spent, apart


def ratio(pairs):
    """(mean ratio, width of its 95 % interval) of pairs of seconds: their logarithms, normal approximation."""
    logs = torch.tensor([math.log(one / other) for one, other in pairs], dtype=torch.float64)
    about = 1.96 * float(logs.std(correction=1)) / math.sqrt(len(logs))
    middle = float(logs.mean())
    return math.exp(middle), math.exp(middle + about) - math.exp(middle - about)


def interleaved(one, other, width, least, most):
    """Pairs of results of one() and other(), in turns, until `pick` of them is known to `width`."""
    pairs = []
    while len(pairs) < least or (len(pairs) < most and ratio([(a[0], b[0]) for a, b in pairs])[1] > width):
        seed = 1000 * len(pairs)
        if len(pairs) % 2:
            second = other(seed)
            pairs.append((one(seed), second))
        else:
            first = one(seed)
            pairs.append((first, other(seed)))
    return pairs


def overhead(bench, name, options):
    pairs = interleaved(
        lambda seed: cpu(lambda apart: bench.ours(seed, apart)),
        lambda seed: cpu(lambda apart: bench.bare(seed, apart)),
        WIDTH,
        options.least,
        options.most,
    )
    middle, width = ratio([(ours[0], bare[0]) for ours, bare in pairs])
    per = 1e3 / CANDIDATES / len(pairs)
    apart = {what: sum(ours[2].seconds[what] for ours, _ in pairs) * per for what in ("decode", "verdict")}
    print(
        f"| {name} | {sum(b[0] for _, b in pairs) * per:.2f} | {sum(o[0] for o, _ in pairs) * per:.2f} | "
        f"{middle:.3f} ({middle - width / 2:.3f} to {middle + width / 2:.3f}) | <= {GOALS[name]} | "
        f"{apart['decode']:.2f} | {apart['verdict']:.2f} | {len(pairs)} |",
        flush=True,
    )


def races():
    """(what, goal, rows at once, batches that it samples in, the plain search, ours)."""
    climb = (1,) + (NEIGHBOURS,) * ROUNDS
    yield (
        "random search",
        ">= 7",
        (AT_ONCE,) * (CANDIDATES // AT_ONCE),
        lambda bench, seed, apart: bench.naive(apart).random(seed, CANDIDATES),
        RANDOM,
    )
    yield (
        f"zero-order search, {ROUNDS} rounds of {NEIGHBOURS}",
        ">= 3",
        climb,
        lambda bench, seed, apart: bench.naive(apart).zero_order(seed, ROUNDS, NEIGHBOURS, COSINE),
        ZeroOrder(NEIGHBOURS, COSINE),
    )
    if "chains" in {field.name for field in dataclasses.fields(ZeroOrder)}:
        yield (
            f"the same in {CHAINS} chains",
            ">= 6",
            tuple(CHAINS * rows for rows in climb),
            lambda bench, seed, apart: [
                bench.naive(apart).zero_order(seed + i, ROUNDS, NEIGHBOURS, COSINE) for i in range(CHAINS)
            ],
            ZeroOrder(NEIGHBOURS, COSINE, chains=CHAINS),
        )


def against_naive(bench, name, options):
    """Whole runs, decodes and verdicts included: plain, ours, and no search at all but the same batches."""
    for what, goal, batches, naive, search in races():
        count, rows = sum(batches), max(batches)

        def plain(seed):
            return cpu(lambda apart: naive(bench, seed, apart))[1:]  # noqa: B023

        pairs = interleaved(
            plain,
            lambda seed: cpu(lambda apart: bench.ours(seed, apart, search, count, rows))[1:],  # noqa: B023
            0.2,
            3,
            options.races,
        )
        most = interleaved(
            plain,
            lambda seed: cpu(lambda apart: bench.bare(seed, apart, batches))[1:],  # noqa: B023
            0,
            3,
            3,
        )
        middle, width = ratio([(a[0], b[0]) for a, b in pairs])
        possible, _ = ratio([(a[0], b[0]) for a, b in most])
        slow, fast = (sum(pair[side][0] for pair in pairs) / len(pairs) for side in (0, 1))
        print(
            f"| {name} | {what} | {slow:.2f} | {fast:.2f} | {middle:.2f} ± {width / 2:.2f} | {possible:.2f} | {goal} |",
            flush=True,
        )


class Worker:
    """The same searches by the pack of another checkout, in a process of its own."""

    def __init__(self, checkout, world):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "_overhead_worker.py"), str(checkout), world],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def seconds(self, race: int, seed: int) -> float:
        """CPU seconds of races()[race], decodes and verdicts included."""
        print(race, seed, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def against_before(name, options):
    """Plain over ours, for this checkout and the other, every run in turns."""
    here, before = Worker(ROOT, name), Worker(options.before, name)
    bench = Bench(name)
    for place, (what, goal, _, naive, search) in enumerate(races()):
        if getattr(search, "chains", 1) > 1:
            continue  # the setting is newer than the checkouts this is for
        rows = []
        for repeat in range(1 + (3 if options.quick else 8)):
            seed = 1000 * repeat
            plain = cpu(lambda apart: naive(bench, seed, apart))[1]  # noqa: B023
            rows.append((plain, before.seconds(place, seed), here.seconds(place, seed)))
        rows = rows[1:]  # the first loads what is loaded once
        old, new = (ratio([(row[0], row[side]) for row in rows]) for side in (1, 2))
        print(
            f"| {name} | {what} | {old[0]:.2f} ± {old[1] / 2:.2f} | {new[0]:.2f} ± {new[1] / 2:.2f} | {goal} |",
            flush=True,
        )


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer repeats, wider intervals")
    parser.add_argument("worlds", nargs="*", default=list(GOALS), help=f"some of {', '.join(GOALS)}")
    parser.add_argument(
        "--before", help="another checkout of the pack: how many times as fast as the plain search both are"
    )
    options = parser.parse_args()
    if options.before:
        print("| world | search | before (95 %) | now (95 %) | goal |\n|---|---|---:|---:|---:|")
        for name in options.worlds:
            against_before(name, options)
        return
    options.least, options.most, options.races = (3, 6, 3) if options.quick else (LEAST, MOST, 10)
    benches = {name: Bench(name) for name in options.worlds}
    for bench in benches.values():  # what is loaded and compiled once
        cpu(lambda apart: bench.bare(0, apart))  # noqa: B023
        cpu(lambda apart: bench.ours(0, apart))  # noqa: B023
    print(
        f"\n### Overhead: random search over {CANDIDATES} candidates, {ROWS} at once; ms of CPU time per candidate\n"
    )
    print(
        "| world | bare sampling | our search | ratio (95 %) | goal | decode, apart | verdict, apart | pairs |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, bench in benches.items():
        overhead(bench, name, options)
    print(
        "\n### Against a search written down plainly (_naive.py); seconds of CPU time, decodes and verdicts included."
        " The most: the same candidates in the same batches without any search, which only the processor decides\n"
    )
    print("| world | search | plain | ours | times as fast (95 %) | the most | goal |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for name, bench in benches.items():
        against_naive(bench, name, options)


if __name__ == "__main__":
    main()
