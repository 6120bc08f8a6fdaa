"""What stands at the door of every node of the pack: nothing undeclared comes in, and no error leaves that ComfyUI's log cannot take."""

from __future__ import annotations

import traceback
from functools import wraps
from inspect import Parameter, signature

from ..untrusted import excerpt
from .given import check, declared_by

LONGEST = 10_000  # characters of an error; with all that led to it ten times as many
CLS, ANY = Parameter("cls", Parameter.POSITIONAL_OR_KEYWORD), Parameter.POSITIONAL_OR_KEYWORD


def guarded(node):
    """The node class, whose inputs are checked when it is queued and when it runs."""
    guards = {"execute": _execute, "fingerprint_inputs": _sayable, "check_lazy_status": _sayable}
    for name, guard in guards.items():
        if name in vars(node):
            setattr(node, name, classmethod(guard(vars(node)[name].__func__)))
    node.validate_inputs = classmethod(_sayable(_validator(node)))
    return node


def _execute(execute):
    names = list(signature(execute).parameters)[1:]

    @wraps(execute)
    def checked(cls, *args, **kwargs):
        check(declared_by(cls), {**dict(zip(names, args)), **kwargs}, cls.INPUT_IS_LIST)
        return execute(cls, *args, **kwargs)

    return _sayable(checked)


def _validator(node):
    """What ComfyUI asks when a graph is queued: about every choice, and about what the node itself wants to see.

    ComfyUI hands over the inputs that the signature names, None for linked ones, and checks those no longer.
    """
    own = vars(node)["validate_inputs"].__func__ if "validate_inputs" in vars(node) else lambda cls: True
    choices = [name for name, (type_, _) in declared_by(node).items() if type_ == "COMBO"]
    wanted = list(signature(own).parameters)[1:]

    def validate_inputs(cls, **given):
        lists = cls.INPUT_IS_LIST
        known = {name: one for name, one in given.items() if (one[0] if lists else one) is not None}
        try:
            check(declared_by(cls), known, lists)
        except ValueError as error:
            return str(error)
        return own(cls, **{name: value for name, value in given.items() if name in wanted})

    names = dict.fromkeys([*choices, *wanted])
    validate_inputs.__signature__ = signature(own).replace(
        parameters=[CLS, *(Parameter(name, ANY, default=None) for name in names)]
    )
    return validate_inputs


def _sayable(work):
    """The function, whose errors say what happened in few words that can be encoded: ComfyUI's log stops its worker otherwise."""

    @wraps(work)
    def saying(*args, **kwargs):
        try:
            return work(*args, **kwargs)
        except Exception as error:
            if _can_be_logged(error):
                raise
            raise RuntimeError(f"{type(error).__name__}: {excerpt(_words(error), LONGEST // 10)}") from None

    return saying


def _can_be_logged(error: Exception) -> bool:
    """Whether ComfyUI can print an error with all that led to it."""
    try:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        text.encode("utf-8")
        return len(str(error)) <= LONGEST and len(text) <= 10 * LONGEST
    except Exception:
        return False


def _words(error: Exception) -> str:
    try:
        return str(error)
    except Exception as silent:
        return f"no words ({type(silent).__name__})"
