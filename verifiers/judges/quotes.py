"""The quoted parts of a text, in one pass: no text makes it slower than its length."""

from __future__ import annotations

import re
from bisect import bisect_left

_MARK = re.compile(r"""["“”„«»「」『』‘’']""")
_CLOSING = {'"': '"', "“": "”", "„": "“”", "«": "»", "「": "」", "『": "』", "‘": "’", "'": "'"}
_APOSTROPHES = "’'"


def quotes(text: str) -> list[str]:
    """The parts in quotation marks of any kind, in order, without space around them and without empty ones.

    A straight double mark behind a digit means inches. A single closing mark between letters is an apostrophe, and so is a straight single
    one behind a letter, unless it closes.
    """
    marks = {mark.start(): mark[0] for mark in _MARK.finditer(text)}
    ends: dict[str, list[int]] = {}
    for place, mark in marks.items():
        if not (mark in _APOSTROPHES and _letter(text, place - 1) and _letter(text, place + 1)):
            ends.setdefault(mark, []).append(place)
    found, free = [], 0
    for place, mark in marks.items():
        end = _end(text, place, mark, ends) if place >= free else None
        if end is not None:
            found.append(text[place + 1 : end].strip())
            free = end + 1
    return [part for part in found if part]


def _end(text: str, start: int, mark: str, ends: dict[str, list[int]]) -> int | None:
    """Where the quotation that a mark opens is closed; None where it opens none."""
    before = text[start - 1 : start]
    if (
        mark not in _CLOSING
        or (mark == '"' and before.isdecimal())
        or (mark == "'" and _letter(text, start - 1))
    ):
        return None
    places = [ends[closing] for closing in _CLOSING[mark] if closing in ends]
    nexts = [some[at] for some in places if (at := bisect_left(some, start + 1)) < len(some)]
    end = min(nexts, default=None)
    if end is None or end == start + 1 or (mark == "'" and _letter(text, end + 1)):
        return None
    return end


def _letter(text: str, place: int) -> bool:
    return 0 <= place < len(text) and (text[place].isalnum() or text[place] == "_")
