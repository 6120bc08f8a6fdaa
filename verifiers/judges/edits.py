"""How unlike two texts are, in letters: the fewest to insert, delete or replace (Levenshtein)."""

from __future__ import annotations


class Letters:
    """A text to compare others with: where each letter stands, as the bits of a number."""

    def __init__(self, text: str):
        self.length = len(text)
        places: dict[str, list[int]] = {}
        for place, letter in enumerate(text):
            places.setdefault(letter, []).append(place)
        self.places = {letter: _bits(where, self.length) for letter, where in places.items()}


class Distance:
    """The edit distance of a text that grows letter by letter to another.

    A column of the table of distances is worked out at once, as the bits of two numbers: where it grows by one from a letter of the other
    text to the next, and where it shrinks (Myers 1999, Hyyro 2003).
    """

    def __init__(self, other: Letters):
        self.other, self.now = other, other.length
        self.everywhere, self.last = (1 << other.length) - 1, (1 << other.length) >> 1
        self.grows, self.shrinks = self.everywhere, 0

    def add(self, letter: str) -> int:
        """The distance with one letter more."""
        same, grows, shrinks, everywhere = (
            self.other.places.get(letter, 0),
            self.grows,
            self.shrinks,
            self.everywhere,
        )
        level = (((same & grows) + grows) ^ grows) | same | shrinks
        right_grows = shrinks | (everywhere & ~(level | grows))
        right_shrinks = level & grows
        self.now += bool(right_grows & self.last) - bool(right_shrinks & self.last) if self.last else 1
        right_grows = (right_grows << 1 | 1) & everywhere
        right_shrinks = (right_shrinks << 1) & everywhere
        self.grows = right_shrinks | (everywhere & ~(level | right_grows))
        self.shrinks = level & right_grows
        return self.now


def edit_distance(one: str, other: str) -> int:
    distance = Distance(Letters(other))
    for letter in one:
        distance.add(letter)
    return distance.now


def _bits(places: list[int], length: int) -> int:
    bits = bytearray(length // 8 + 1)
    for place in places:
        bits[place // 8] |= 1 << place % 8
    return int.from_bytes(bits, "little")
