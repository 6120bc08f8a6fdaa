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
    names = [str(name) for name in names]
    shown = [excerpt(name, 80).strip("'\"") for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")


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
