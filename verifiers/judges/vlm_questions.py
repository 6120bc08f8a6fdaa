"""Questions to a picture that are answered by yes or no: the user's, one a line, or made of the prompt by the model itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from ...untrusted import excerpt, legible

MOST = 32  # questions
LONGEST = 400  # letters of one
MOST_TEXT = 4000  # letters of a template, an instruction, or all questions together
MOST_PROMPT = 10_000  # letters of a prompt
MOST_PLACES = 8  # where the prompt goes in one text
MADE = 12  # at most, of one prompt
YES_OR_NO = "Please answer Yes or No."
TEMPLATE = f'Does this figure show "{{}}"? {YES_OR_NO}'  # VQAScore's (Lin et al. 2024, arXiv 2404.01291)
SPLIT = (
    'A picture was made for this description: "{}"\n'
    "Write the questions that tell whether the picture shows it. Each is answered by yes or no, and checks one thing: that something is there, how many there are, "
    f"its colour, its shape, where it is, what it does, or a text to be read. At most {MADE} questions, one a line, without numbers in front. Write nothing else."
)
_PLACE = re.compile(r"\{(?:prompt)?\}")
_BULLET = re.compile(r"^(?:[-*•]|\(?\d{1,3}[.):]) *")
_OPENING = re.compile(
    r"^(?:is|are|does|do|can)(?: (?:there|this (?:figure|picture|image)|the (?:figure|picture|image)|you|it))?(?: (?:show|see|contain|have))?(?: (?:an?|the))? +",
    re.IGNORECASE,
)
_made: dict[str, tuple[str, ...]] = {}  # what models have made of prompts, in this session


def filled(template: str, prompt: str) -> str:
    """The template with the prompt at {} or {prompt}."""
    return _PLACE.sub(lambda _: prompt, template)


def has_place(template: str) -> bool:
    return bool(_PLACE.search(template))


def within(text: str, what: str) -> str:
    """The text, as it is. ValueError for one too long to be asked of every image."""
    if len(text) > MOST_TEXT:
        raise ValueError(
            f"{what} of VLM Judge has {MOST_TEXT} letters at most, and was given {len(text)}: {excerpt(text, 60)}. It is read for every image: shorten it."
        )
    places = len(_PLACE.findall(text))
    if places > MOST_PLACES:
        raise ValueError(
            f"{what} of VLM Judge has the prompt in {MOST_PLACES} places at most, and was given {places}: {excerpt(text, 60)}. Write {{}} once."
        )
    return text


def check_length(prompt: str) -> None:
    """ValueError for a prompt that no vision-language model would read in reasonable time."""
    if len(prompt) > MOST_PROMPT:
        raise ValueError(
            f"VLM Judge reads prompts of {MOST_PROMPT} letters at most, and this one has {len(prompt)}: {excerpt(prompt, 60)}. Shorten it, or give the search a shorter one in `prompt`."
        )


def questions_of(text: str) -> tuple[str, ...]:
    """One a line; empty lines, and those that begin with #, are left out. ValueError for too many or too long ones."""
    within(text, "The list of questions")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    found = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if len(found) > MOST:
        raise ValueError(
            f"VLM Judge asks {MOST} questions at most, one a line; it was given {len(found)}. Each is asked of every image."
        )
    for line in found:
        if len(line) > LONGEST:
            raise ValueError(
                f"A question to VLM Judge has {LONGEST} letters at most, this one {len(line)}: {excerpt(line, 60)}. Put one question on a line."
            )
    return found


def asked(question: str, prompt: str) -> str:
    """What the model is told of a question."""
    said = filled(question, prompt)
    return said if "yes or no" in said.lower() else f"{said} {YES_OR_NO}"


def label(question: str) -> str:
    """A question in few words, for reports: "Is there a red circle?" is "red circle"."""
    plain = question.replace(YES_OR_NO, "").strip().rstrip("?").strip()
    short = _OPENING.sub("", plain) or plain or question
    return legible(short, 60, "utf-8")


def labels(questions: Iterable[str]) -> list[str]:
    """A label for each, no two alike."""
    found: list[str] = []
    for question in questions:
        short = name = label(question)
        number = 1
        while name in found:
            number += 1
            name = f"{short} ({number})"
        found.append(name)
    return found


def listed_in(answer: str) -> tuple[str, ...]:
    """The questions in what a model wrote: lines that end in a question mark, without bullets and numbers, MADE at most."""
    lines = (_BULLET.sub("", " ".join(line.split())) for line in answer.splitlines())
    wanted = (line for line in lines if line.endswith("?") and 3 < len(line) <= LONGEST)
    return tuple(dict.fromkeys(wanted))[:MADE]


def made_by(model: Any, prompt: str) -> tuple[str, ...]:
    """The model's own questions to a prompt, in one call; asked again they cost nothing. ValueError when it writes none."""
    check_length(prompt)
    told = filled(SPLIT, prompt)
    key = json.dumps([model.fingerprint(), told], sort_keys=True)
    if key not in _made:
        answer = model.say(told, 32 * MADE)
        found = listed_in(answer)
        if not found:
            raise ValueError(
                f"VLM Judge had the model make questions of the prompt, and it wrote none: {excerpt(answer, 120)}. Write them yourself, one a line."
            )
        while len(_made) >= 64:
            del _made[next(iter(_made))]
        _made[key] = found
    return _made[key]
