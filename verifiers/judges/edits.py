"""How unlike two texts are, in letters: the fewest to insert, delete or replace (Levenshtein)."""

from __future__ import annotations

from collections.abc import Generator


def edit_distance(one: str, other: str) -> int:
    distances = edit_distances(other, places_of(other))
    distance, told = next(distances), distances.send
    for letter in one:
        distance = told(letter)
    return distance


def places_of(text: str) -> dict[str, int]:
    """Where each letter stands in a text, as the bits of a number."""
    places: dict[str, list[int]] = {}
    for place, letter in enumerate(text):
        places.setdefault(letter, []).append(place)
    return {letter: _bits(where, len(text)) for letter, where in places.items()}


def edit_distances(text: str, places: dict[str, int]) -> Generator[int, str, None]:
    """A generator that is sent letters, and gives the edit distance of all it was sent so far to the text. places: `places_of` the text.

    A column of the table of distances is worked out at once, as the bits of two numbers: where it grows by one from a letter of the text to
    the next, and where it shrinks (Myers 1999, Hyyro 2003).
    """
    everywhere = (1 << len(text)) - 1
    last = (1 << len(text)) >> 1
    grows, shrinks, distance = everywhere, 0, len(text)
    while True:
        letter = yield distance
        same = places.get(letter, 0)
        level = (((same & grows) + grows) ^ grows) | same | shrinks
        right_grows = shrinks | (everywhere & ~(level | grows))
        right_shrinks = level & grows
        distance += bool(right_grows & last) - bool(right_shrinks & last) if text else 1
        right_grows = (right_grows << 1 | 1) & everywhere
        right_shrinks = (right_shrinks << 1) & everywhere
        grows = right_shrinks | (everywhere & ~(level | right_grows))
        shrinks = level & right_grows


def _bits(places: list[int], length: int) -> int:
    bits = bytearray(length // 8 + 1)
    for place in places:
        bits[place // 8] |= 1 << place % 8
    return int.from_bytes(bits, "little")
