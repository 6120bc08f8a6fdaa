"""Values that a shared workflow brings: quoted so that no log can choke on them, and read so that nothing unexpected passes.

Imports the standard library only; every room may use it.
"""


def excerpt(value, most=200):
    """Any value in quotes for a message: ASCII only (a lone surrogate cannot be logged), its beginning only when it is long."""
    try:
        text = ascii(value[: most + 1] if isinstance(value, (str, bytes)) else value)
    except Exception:  # nested too deep, a number of too many digits, an object whose own words fail
        return f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]} ..."


def listed(names, most=40):
    """Names for a message, each short and ASCII, and not too many of them."""
    names = list(names)
    return ", ".join(legible(name, 80) for name in names[:most]) + (
        f" and {len(names) - most} more" if len(names) > most else ""
    )


def legible(text, most=1000, encoding="ascii"):
    """What somebody else's object says, for a message of ours: in one line, not long, and such that it can be written in an encoding."""
    try:
        words = " ".join(str(text)[: most + 1].encode(encoding, "backslashreplace").decode(encoding).split())
    except Exception:
        return f"a {type(text).__name__}"
    return words if len(words) <= most else f"{words[:most]} ..."


def choice(value, options, what):
    """The value, which must be one of the options; ValueError with those there are. (ComfyUI checks lists of choices from 0.8 on only.)"""
    options = list(options)
    if any(type(value) is type(option) and value == option for option in options):
        return value
    raise ValueError(f"There is no {what} {excerpt(value)}. There are: {listed(options) or 'none'}.")


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


def entries(values, most: int, what: str) -> list:
    """The entries of a list out of JSON; TypeError for anything else, ValueError for a list that is too long."""
    if not isinstance(values, list):
        raise TypeError(f"{excerpt(values, 40)} is not a list of {what}")
    if len(values) > most:
        raise ValueError(f"there are {most} {what} at most, not {len(values)}")
    return values


def only(data: dict, keys, what: str) -> None:
    """Raise ValueError for a key that is not known: what it means would be ignored."""
    for key in data:
        if key not in keys:
            raise ValueError(f"{what} has the key {excerpt(key, 40)}; it may have {', '.join(keys)}")


class Short:
    """Base of what lies on our sockets: a repr that is short and never fails.

    When a node fails, ComfyUI writes down its inputs by `str`; if that fails in turn, the server's worker dies.
    """

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        cls.__repr__ = Short.__repr__  # in the class itself, so that @dataclass leaves it alone

    def __repr__(self):
        plain = (
            f"{name}={excerpt(value, 40)}"
            for name, value in vars(self).items()
            if isinstance(value, (str, int, float)) and not name.startswith("_")
        )
        return f"{type(self).__name__}({', '.join(plain)})"[:200]
