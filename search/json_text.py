"""JSON that strangers send, as plain data: read in bounded time and memory, or refused."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..untrusted import excerpt

MOST_TEXT = 8_000_000  # bytes
MOST_MEMORY = 60_000_000  # bytes
MEMORY = {
    "{": 250,
    "[": 200,
    ",": 45,
    '"': 120,
}  # bytes that what begins there takes at most while it is read
MOST_DIGITS = 20  # of a whole number: 2^64 has as many


def read_json(text: str) -> Any:
    """The data of a JSON text. Stricter than `json.loads`: ValueError for NaN, infinities, keys that stand twice and numbers of many digits too."""
    if not isinstance(text, str):
        raise ValueError(f"it is not text but a value of type {type(text).__name__}")
    size = len(text) * (1 if text.isascii() else 4)
    if size > MOST_TEXT:
        raise ValueError(f"it takes {size} bytes, and {MOST_TEXT} is the most")
    if sum(text.count(mark) * size for mark, size in MEMORY.items()) > MOST_MEMORY:
        raise ValueError("it has too many entries")
    try:
        return json.loads(text, object_pairs_hook=_table, parse_int=_whole, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


@contextmanager
def no_collections() -> Iterator[None]:
    """While much is read, nothing looks for cycles: there are none in it, and looking takes ten times as long as reading."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"the key {excerpt(key, 40)} stands twice in one place")
        table[key] = value
    return table


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS + digits.startswith("-"):
        raise ValueError(f"it holds a whole number of {len(digits)} digits")
    return int(digits)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")
