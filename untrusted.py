"""Values that a shared workflow brings: quoted so that no log can choke on them, and read so that nothing unexpected passes.

Imports the standard library only; every room may use it.
"""


def excerpt(value, most=200):
    """Any value in quotes for a message: ASCII only (a lone surrogate cannot be logged), its beginning only when it is long."""
    text = ascii(value[: most + 1] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= most else f"{text[:most]} ..."


def whole(number) -> int:
    """A whole number out of JSON; TypeError for anything else (text, fractions, true)."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{excerpt(number)} is not a whole number")
    return number


def real(number) -> float:
    """A number out of JSON; TypeError for anything else."""
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise TypeError(f"{excerpt(number)} is not a number")
    return float(number)
