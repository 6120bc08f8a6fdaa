"""VLM Judge on scenes: the whole prompt against single questions, which judge suits which task, and pictures that talk to the judge.

    make bench ARGS=vlm

The model that sees is a small stand-in (`_reader.py`), trained here (once: .cache/vlm) on scenes that are not held out, and asked through VLM Judge itself. All judges choose among the
same candidates of one random search for each prompt, so all cost the same NFE. The truth is the demo's held-out judge: another network, trained on other data.
"""

from __future__ import annotations

import argparse
import time

import torch
from _paired import paired
from _reader import ASKED, accuracy, captioned, checks, kept, stand_in
from _trials import World, interval

from noisesearch.demo.attributes import labels_of
from noisesearch.demo.grammar import parse_scene
from noisesearch.demo.worlds import held_out_prompts
from noisesearch.search.algorithms import RandomSearch
from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.catalogue import load_verifier
from noisesearch.verifiers.ensemble import Ensemble
from noisesearch.verifiers.judges.vlm_presets import vlm_judge

SEES, HALF = "that sees well", "that learnt an eighth of that"
READS, HALF_READS = "that learnt from captions, too", "that learnt an eighth of that, and from captions"
PARTS = ("questions", "writing")
CATEGORIES = ("colour", "shape", "position", "count", "who has which colour", "everything")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=120)
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--only", choices=PARTS, help="questions: tables 2 and 3; writing: the last one")
    parser.add_argument("--steps", type=int, default=4000, help="training steps of the stand-ins")
    options = parser.parse_args()
    began, world = time.monotonic(), World("scenes")
    classify = world.verifier.classify
    readers = {
        SEES: kept(classify, 0.0, options.steps),
        HALF: kept(classify, 0.0, options.steps // 8),
        READS: kept(classify, 0.2, options.steps),
        HALF_READS: kept(classify, 0.2, options.steps // 8),
    }
    print("\n### The stand-ins: how often they are right, on rendered scenes\n")
    print(f"| stand-in | {' | '.join(ASKED)} |\n|---|{'---:|' * len(ASKED)}")
    for name, reader in readers.items():
        right = accuracy(reader, classify)
        print(f"| {name} | {' | '.join(f'{right[one]:.1%}' for one in ASKED)} |", flush=True)
    prompts = held_out_prompts("scenes", options.prompts, seed=12)
    others = (world.verifier, load_verifier("CLIPScore", "scenes-clip"))
    trials = [
        world.search(
            RandomSearch(),
            prompt,
            700_000 + 1000 * i,
            Ensemble(others, (1.0, 0.0)),
            candidates=options.candidates,
        )
        for i, prompt in enumerate(prompts)
    ]
    clips = {name: stand_in(reader, classify) for name, reader in readers.items()}
    truths = [truth(world.judge, trial) for trial in trials]
    print(f"\n{len(prompts)} prompts, {options.candidates} candidates each")
    if options.only != "writing":
        picks = {name: chosen(trials, clips[name]) for name in (SEES, HALF)}
        for name, some in picks.items():
            print(f"\n### One question or several, asked of the stand-in {name}\n")
            print("\n".join(compared(some, truths)), flush=True)
        print(f"\n### Judge and task: share of winners in which this is right; the stand-in {SEES}\n")
        print("\n".join(by_category(picks[SEES], truths)), flush=True)
    if options.only != "questions":
        print("\n### A picture that says YES\n")
        print("\n".join(injected(trials, truths, clips, world.judge)))
    print(f"\n({time.monotonic() - began:.0f} s on one CPU core)")


def judges_of(clip, prompt):
    """Ways to ask a stand-in about a prompt."""
    questions = checks(parse_scene(prompt))
    together = "\n".join(one for some in questions.values() for one in some)
    yield "whole prompt", vlm_judge(clip, "the whole prompt")
    for combine in ("product", "mean", "min"):
        yield f"questions, {combine}", vlm_judge(clip, "checks of the prompt", together, combine)
    for name in ("colour", "shape", "position", "count"):
        if name in questions:
            yield f"questions on {name}", vlm_judge(clip, "checks of the prompt", "\n".join(questions[name]))


def chosen(trials, clip):
    """{judge: the place of its winner in each trial, None where it has nothing to ask}."""
    found = {"nobody": [None] * len(trials), "scene attributes": [], "CLIPScore": []}
    for number, trial in enumerate(trials):
        for i, name in enumerate(("scene attributes", "CLIPScore")):
            found[name].append(max(range(len(trial.rows)), key=lambda place: trial.rows[place][i]))
        batch = Batch(torch.stack(trial.images), trial.prompt)
        for name, judge in judges_of(clip, trial.prompt):
            places = found.setdefault(name, [None] * number)
            places.append(int(judge.score(batch).argmax()))
        for places in found.values():
            places += [None] * (number + 1 - len(places))
    return found


def truth(judge, trial):
    """bool [candidates, categories], NaN where a prompt says nothing of one, by the held-out judge."""
    wanted = labels_of(parse_scene(trial.prompt))
    heads = [head.argmax(-1) for head in judge.classify(torch.stack(trial.images))]
    rows = []
    for found in zip(*(head.tolist() for head in heads)):
        two = bool(wanted[0])
        things, asked = ([(some[2], some[3]), (some[4], some[5])][: 1 + two] for some in (found, wanted))
        colours = sorted(c for c, _ in things) == sorted(c for c, _ in asked)
        shapes = sorted(s for _, s in things) == sorted(s for _, s in asked)
        count = found[0] == wanted[0]
        alike = [
            sum(a == b for one, other in zip(some, asked) for a, b in zip(one, other))
            for some in (things, things[::-1])
        ]
        position = float(count and found[1] == wanted[1] and alike[0] >= alike[1]) if two else torch.nan
        bound = float(sorted(things) == sorted(asked)) if two else torch.nan
        everything = all(a == b for a, b in zip(found, wanted) if b >= 0)
        rows.append(
            [
                float(colours and count),
                float(shapes and count),
                position,
                float(count),
                bound,
                float(everything),
            ]
        )
    return torch.tensor(rows)


def shares(places, truths, category):
    """Of each prompt that says something of the category, whether the winner has it right (nobody: the share of the candidates)."""
    found = []
    for place, table in zip(places, truths):
        column = table[:, category]
        if not column.isnan().any():
            found.append(float(column.mean() if place is None else column[place]))
    return found


def compared(picks, truths):
    everything = len(CATEGORIES) - 1
    whole = shares(picks["whole prompt"], truths, everything)
    yield "| chosen by | everything right | against the whole prompt, in points [95 % interval] |\n|---|---:|---:|"
    for name in (
        "nobody",
        "CLIPScore",
        "whole prompt",
        "questions, product",
        "questions, mean",
        "questions, min",
        "scene attributes",
    ):
        mine = shares(picks[name], truths, everything)
        difference = paired([a - b for a, b in zip(mine, whole)]).points() if name != "whole prompt" else ""
        share = interval(mine) if name != "nobody" else f"{sum(mine) / len(mine):.0%}"
        yield f"| {name} | {share} | {difference} |"


def by_category(picks, truths):
    yield f"| chosen by | {' | '.join(CATEGORIES)} |\n|---|{'---:|' * len(CATEGORIES)}"
    for name, places in picks.items():
        cells = []
        for category in range(len(CATEGORIES)):
            kept = [(p, t) for p, t in zip(places, truths) if name == "nobody" or p is not None]
            mine = shares(*zip(*kept), category) if kept else []
            cells.append(f"{sum(mine) / len(mine):.0%}" if name == "nobody" else interval(mine))
        yield f"| {name} | {' | '.join(cells)} |"


def injected(trials, truths, clips, judge):
    """The word YES is written into one wrong candidate of each prompt."""
    yield "| stand-in | asked | p(yes) of a wrong picture | with YES on it | it wins against the others | without YES |\n|---|---|---:|---:|---:|---:|"
    wrong = [
        (trial, next((i for i, row in enumerate(table[:, -1]) if not row), None))
        for trial, table in zip(trials, truths)
    ]
    wrong = [(trial, place) for trial, place in wrong if place is not None]
    for name, clip in clips.items():
        for way in ("whole prompt", "questions, product"):
            before, after, wins, won = [], [], [], []
            for trial, place in wrong:
                asked = dict(judges_of(clip, trial.prompt))[way]
                images = torch.stack(trial.images)
                scores = asked.score(Batch(images, trial.prompt))
                spoken = asked.score(Batch(captioned(images[place : place + 1], "YES"), trial.prompt))[0]
                rest = torch.cat([scores[:place], scores[place + 1 :]]).max()
                before.append(float(scores[place]))
                after.append(float(spoken))
                wins.append(float(spoken > rest))
                won.append(float(scores[place] > rest))
            yield (
                f"| {name} | {way} | {sum(before) / len(before):.2f} | {sum(after) / len(after):.2f} "
                f"| {interval(wins)} | {interval(won)} |"
            )
    seen = [bool(judge.correct(Batch(captioned(t.images[p][None], "YES"), t.prompt))) for t, p in wrong]
    yield f"\nThe held-out judge takes {interval(map(float, seen))} of these wrong pictures for right once YES stands on them ({len(seen)} pictures)."


if __name__ == "__main__":
    main()
