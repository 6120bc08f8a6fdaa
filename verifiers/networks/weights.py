"""Weights files, opened so that nothing in them may run, and compared by name and shape before anything of their size is made."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ...untrusted import listed
from ..files import EXTENSIONS
from .torch_file import MOST_BYTES, Stored, read_outline, read_tensors

State = dict[str, torch.Tensor]

MOST_TENSORS = 4096  # the largest CLIPs have about 1500
OVERLAP = 2  # how many times the bytes of a file its tensors may have together: weights used in two places are stored once
_SAFETENSORS = (".safetensors", ".sft")
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class WrongFile(ValueError):
    """A file that is not what it was taken for. The message may quote the file: it is ASCII, and not long."""

    def __init__(self, message: str):
        super().__init__(message.encode("ascii", "backslashreplace").decode()[:900])


def outline(path: Path) -> State:
    """Names and shapes of a file's weights, as tensors on "meta" that hold no numbers. WrongFile as `load_weights`."""
    path = Path(path)
    if path.suffix.lower() not in EXTENSIONS:
        raise WrongFile(f"{path.name} is not a weights file: allowed are {', '.join(sorted(EXTENSIONS))}.")
    if path.suffix.lower() in _SAFETENSORS:
        found = _safetensors_outline(path)
    else:
        found = {name: (stored.shape, stored.storage.dtype) for name, stored in _torch_table(path).items()}
    if not found:
        raise WrongFile(_NO_TABLE.format(path.name))
    with taken_for("a table of tensors", path):
        state = {
            name: torch.empty(shape, dtype=dtype, device="meta") for name, (shape, dtype) in found.items()
        }
    if sum(value.nbytes for value in state.values()) > OVERLAP * path.stat().st_size:
        raise WrongFile(f"{path.name} was refused: its tensors claim more numbers than the file has.")
    return state


def load_weights(path: Path) -> State:
    """The state dict of a safetensors file, or of a torch file that holds nothing but tensors.

    WrongFile: another kind of file, a broken file, or one that would have to run code to be read.
    """
    path = Path(path)
    outline(path)
    if path.suffix.lower() not in _SAFETENSORS:
        with _readable(path):
            return read_tensors(path, _torch_table(path))
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WrongFile(_BROKEN.format(path.name, error)) from error


def named(state: State, names: tuple[str, ...], path: Path, what: str) -> State:
    """The state, which must hold these names; WrongFile says which are missing."""
    missing = [name for name in names if name not in state]
    if missing:
        raise WrongFile(f"{Path(path).name} does not hold {what}: it lacks {listed(missing)}.")
    return state


def load_named(
    path: Path,
    names: tuple[str, ...],
    what: str,
    shapes: Callable[[State], dict[str, tuple[int, ...]]],
) -> State:
    """The tensors of these names as float64 copies. shapes: an outline that has the names -> the shape that each must have."""
    with taken_for(what, path):
        sizes = named(outline(path), names, path, what)
        for name, shape in shapes(sizes).items():
            if sizes[name].shape != shape:
                found = f"its {name} has shape {list(sizes[name].shape)} instead of {list(shape)}"
                raise WrongFile(f"{Path(path).name} does not hold {what}: {found}.")
        state = load_weights(path)
        return {name: state[name].double().clone() for name in names}  # not the file's own memory


def load_into(
    build: Callable[[], torch.nn.Module],
    path: Path,
    what: str,
    translate: Callable[[State, Any], State] = lambda state, network: state,
) -> torch.nn.Module:
    """The network that `build` makes, with the weights of a file. translate: the file's names to the network's.

    Tried first on names and shapes alone, so that a file that does not fit is refused before anything takes memory. WrongFile says what
    does not fit.
    """
    plan = _plan(build)
    with taken_for(f"the weights of {what}", path):
        if plan is not None:
            plan.load_state_dict(translate(outline(path), plan), assign=True)
        state = load_weights(path)
        network = build()
        network.load_state_dict(translate(state, network))
    return network


@contextmanager
def taken_for(what: str, path: Path) -> Iterator[None]:
    """Whatever fails inside, where the tensors of a file are used by name and shape, means that it holds something else: WrongFile."""
    try:
        yield
    except WrongFile:
        raise
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())[:300]
        raise WrongFile(
            f"{Path(path).name} does not hold {what}: {type(error).__name__}, {reason}"
        ) from error


def _plan(build: Callable[[], torch.nn.Module]) -> torch.nn.Module | None:
    """The network without its numbers, which takes no memory however large; None where timm cannot do that (before 1.0.22)."""
    try:
        with torch.device("meta"):
            return build()
    except RuntimeError as error:
        if "meta" in str(error):
            return None
        raise


def metadata(path: Path) -> dict:
    """What a safetensors file says about itself; nothing for other files."""
    found = _header(path).get("__metadata__") if Path(path).suffix.lower() in _SAFETENSORS else None
    return found if isinstance(found, dict) else {}


def _header(path: Path) -> dict:
    """The list of tensors at the beginning of a safetensors file, as it stands there."""
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if MOST_BYTES < length <= path.stat().st_size:
            raise WrongFile(
                f"{path.name} was refused: its list of tensors has {length} bytes, no verifier's has a tenth."
            )
        header = file.read(length) if length <= MOST_BYTES else b""
    try:
        if not header or len(header) < length:
            raise ValueError("it is too short")
        table = json.loads(header)
        if not isinstance(table, dict):
            raise ValueError("it is no table")
        return table
    except (RecursionError, ValueError) as error:
        raise WrongFile(_BROKEN.format(path.name, type(error).__name__)) from error


def _safetensors_outline(path: Path) -> dict[str, tuple]:
    entries = {name: entry for name, entry in _header(path).items() if name != "__metadata__"}
    _check_count(path, entries)
    try:
        return {name: (entry["shape"], _DTYPES[entry["dtype"]]) for name, entry in entries.items()}
    except (KeyError, TypeError) as error:
        raise WrongFile(_BROKEN.format(path.name, type(error).__name__)) from error


def _torch_table(path: Path) -> dict[str, Stored]:
    with _readable(path):
        found = read_outline(path)
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    tensors = isinstance(found, dict) and all(
        type(name) is str and isinstance(value, Stored) for name, value in found.items()
    )
    if not tensors:
        raise WrongFile(_NO_TABLE.format(path.name))
    _check_count(path, found)
    return found


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever the reader of torch files stumbles over is the file's fault, but for missing memory and files that cannot be opened."""
    try:
        yield
    except (MemoryError, OSError):
        raise
    except Exception as error:
        reason = f"it has {error}" if isinstance(error, ValueError) else type(error).__name__
        raise WrongFile(
            f"{path.name} was refused: it is broken, or it is a pickle that holds more than tensors and could run code. "
            f"Use a safetensors file instead. ({reason})"
        ) from error


def _check_count(path: Path, names: Collection) -> None:
    if len(names) > MOST_TENSORS:
        raise WrongFile(
            f"{path.name} was refused: it holds {len(names)} tensors, no verifier has a tenth of that."
        )


_NO_TABLE = "{} holds no table of named tensors, so it cannot be the weights of a verifier."
_BROKEN = "{} is not a whole safetensors file ({}). Copy or download it again."


def read_config(path: Path) -> dict:
    """The JSON of a small settings file. ValueError for a long one."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, which is far too much for settings")
    return json.loads(path.read_text(encoding="utf-8"))
