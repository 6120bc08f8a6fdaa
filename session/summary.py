"""A report in the few lines that a person wants: the winner, the runner-ups, the prompt, the cost, and what to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..search.rollout import says_a_seed
from ..untrusted import legible
from .prospect import duration
from .prospect import in_words as forecast_in_words

RUNNERS = 4
LONGEST = 300  # characters of a prompt


def text_of(report: Mapping[str, Any]) -> str:
    """Plain text. report: of a search, or of Score and Sort Images. ValueError for anything else."""
    check(report)
    if "kept" in report:
        lines = _scored(report)
    else:
        images = report["images"]
        lines = []
        for place, image in enumerate(images):
            lines += [f"Image {place + 1} of {len(images)}"] if len(images) > 1 else []
            lines += _searched(report, image)
    if report.get("prompt"):
        lines.append(f"Prompt: {legible(report['prompt'], LONGEST, 'utf-8')}")
    if "kept" not in report:
        lines += _cost(report)
    lines += [f"Note: {legible(note, encoding='utf-8')}" for note in report.get("notes", ())]
    return "\n".join(lines)


def check(report: Any) -> None:
    """ValueError for what is no report of this pack."""
    if isinstance(report, Mapping) and isinstance(report.get("images"), list):
        if "kept" in report or "totals" in report:
            return
    raise ValueError(
        "This is not the report of a search. Connect the report output of KSampler (Best of N Search), SamplerCustomAdvanced (Best of N Search) or Score and Sort Images."
    )


def leading_of(report: Mapping[str, Any]) -> int:
    """The place of the judge whose score speaks where one number must: the first that counts."""
    weights = report.get("weights") or [1.0]
    return next((place for place, weight in enumerate(weights) if weight and weight > 0), 0)


def score_of(scores: Sequence[float | None], leading: int = 0) -> float | None:
    """The leading judge's score; None where it could not judge."""
    return scores[leading] if len(scores) > leading else None


def number(score: float | None) -> str:
    return "not judged" if score is None else f"{score:.3g}"


def _searched(report: Mapping[str, Any], image: Mapping[str, Any]) -> list[str]:
    leading, winner = leading_of(report), image["winner"]
    known = {one["id"]: one for one in image["candidates"]}
    lines = [f"Winner: {made_from(winner['recipe'], winner['seed'])}{_scores(report, image)}"]
    others = [known[id] for id in image["ranking"] if id != winner["id"] and id in known][:RUNNERS]
    if others:
        told = [f"{name_of(one)} ({number(score_of(one['scores'], leading))})" for one in others]
        lines.append(f"Next best: {', '.join(told)}")
    if forecast := forecast_in_words(image.get("forecast")):
        lines.append(forecast)
    return lines


def made_from(recipe: Mapping[str, Any], seed: int) -> str:
    """The seed, where a stock sampler gives the image by it; else where it began."""
    return f"seed {seed}" if says_a_seed(recipe["pieces"]) else f"found from seed {seed}"


def name_of(candidate: Mapping[str, Any]) -> str:
    """The seed of a candidate that is nothing else; else its number."""
    if candidate.get("parent") is None:
        piece = {name: candidate[name] for name in ("noise", "start", "steps") if name in candidate}
        if says_a_seed([piece]):
            return f"seed {candidate['noise']['seed']}"
    return f"candidate {candidate['id']}"


def _scores(report: Mapping[str, Any], image: Mapping[str, Any]) -> str:
    """What all judges say of the winner, and what the first candidate had."""
    leading, scores = leading_of(report), image["winner"]["scores"]
    if not scores:
        return ", not judged"
    first = first_of(image)
    said = f", score {number(score_of(scores, leading))}"
    if first is not None and first["id"] != image["winner"]["id"]:
        said += f" (first candidate {number(score_of(first['scores'], leading))})"
    names = report.get("verifiers") or []
    others = [f"{name} {number(score)}" for i, (name, score) in enumerate(zip(names, scores)) if i != leading]
    if image["winner"].get("held_out") is not None:
        others.append(f"{report.get('held_out') or 'held out'} {number(image['winner']['held_out'])}")
    return said + "".join(f", {other}" for other in others)


def first_of(image: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The first candidate that was finished: what a plain sampler would have given."""
    return next((one for one in image["candidates"] if one["stop"] == 0 and one["scores"]), None)


def _cost(report: Mapping[str, Any]) -> list[str]:
    images, totals = report["images"], report["totals"]
    finished = sum(len(image["ranking"]) for image in images)
    parts = [f"{finished} candidates" if finished != 1 else "1 image"]
    parts.append(f"{totals['search_nfe'] + totals['final_nfe']} NFE")
    if totals.get("journal_nfe"):
        parts.append(f"{totals['journal_nfe']} more from the journal")
    parts.append(duration(sum(image["seconds"] for image in images)))
    stopped = ", ".join(dict.fromkeys(str(image["stopped"]) for image in images if image["stopped"]))
    search = report["search"].get("name", "search")
    judges = ", ".join(report.get("verifiers") or [])
    by = f", judged by {legible(judges, encoding='utf-8')}" if judges else ""
    return [
        f"Cost: {', '.join(parts)} ({legible(search, encoding='utf-8')}{by}). It ended because: {stopped}."
    ]


def _scored(report: Mapping[str, Any]) -> list[str]:
    kept, images = report["kept"], {one["index"]: one for one in report["images"]}
    lines = [f"{len(kept)} of {len(images)} images kept."]
    if report.get("order"):
        told = [
            f"image {i} ({number(score_of(images[i]['scores']))})" for i in report["order"][: RUNNERS + 1]
        ]
        lines.append(f"Best: {', '.join(told)}")
    if report.get("verifiers"):
        lines.append(f"Judged by {legible(', '.join(report['verifiers']), encoding='utf-8')}")
    return lines
