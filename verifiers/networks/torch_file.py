"""Files of torch.save, read without unpickling them: a table of named tensors is understood, anything else is refused.

A torch file is a pickle, a small program that builds objects, and the numbers of its tensors behind it. The program is followed here one
instruction at a time, and may only do what torch.save writes for a state dict. So names and shapes are known before any number is read.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from .archive import ARCHIVE, open_archive

MOST_STEPS = 100_000  # instructions; a tensor takes about 35
MOST_BYTES = 2**20  # of the program, and of its names in a safetensors file

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Refused(ValueError):
    """The file is no plain table of tensors; the message says where it departs from one."""


@dataclass(frozen=True)
class Storage:
    """A run of numbers of the file, under the key it has there."""

    dtype: torch.dtype
    key: str
    numbers: int

    @property
    def bytes(self) -> int:
        return self.numbers * self.dtype.itemsize


@dataclass(frozen=True)
class Stored:
    """A tensor as the file describes it: a view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.stride)
        if not all(type(number) is int and 0 <= number < 2**62 for number in numbers):
            raise Refused("a tensor of odd measures")
        if len(self.shape) != len(self.stride) or len(self.shape) > 16:
            raise Refused("a tensor of odd measures")
        last = self.offset + sum((side - 1) * step for side, step in zip(self.shape, self.stride))
        if self.count and (last >= self.storage.numbers or self.count > self.storage.numbers):
            raise Refused("a tensor larger than its numbers")

    @property
    def count(self) -> int:
        count = 1
        for side in self.shape:
            count *= side
        return count


def read_outline(path: Path) -> dict[Any, Any]:
    """What the file holds at its top level, tensors as `Stored`."""
    with open(path, "rb") as file:
        return _zipped(file)[0] if file.read(4) == ARCHIVE else _legacy(file)[0]


def read_tensors(path: Path, table: dict[str, Stored]) -> dict[str, torch.Tensor]:
    """The tensors of a table that `read_outline` gave, of the same file."""
    wanted = {stored.storage.key for stored in table.values()}
    with open(path, "rb") as file:
        numbers = _numbers_of_zip if file.read(4) == ARCHIVE else _numbers_of_legacy
        runs = {storage.key: run for storage, run in numbers(file, wanted)}
    return {
        name: torch.as_strided(runs[stored.storage.key], stored.shape, stored.stride, stored.offset)
        for name, stored in table.items()
    }


# -- today's files: a zip of the program and of one entry for each storage ---------------------------------------------


def _zipped(file: BinaryIO) -> tuple[Any, dict[str, Storage], zipfile.ZipFile, str]:
    archive = open_archive(file)
    if any(
        entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size
        for entry in archive.infolist()
    ):
        raise Refused("compressed parts, which torch does not write")
    entries = {entry.filename: entry for entry in archive.infolist()}
    roots = [name.removesuffix("/data.pkl") for name in entries if name.endswith("/data.pkl")]
    if len(roots) != 1 or entries[f"{roots[0]}/data.pkl"].file_size > MOST_BYTES:
        raise Refused("no list of tensors, or one of absurd length")
    (root,) = roots
    if f"{root}/byteorder" in entries and archive.read(f"{root}/byteorder") != b"little":
        raise Refused("numbers in the byte order of another machine")
    program = _Program(archive.read(f"{root}/data.pkl"))
    found = program.run()
    for key, storage in program.storages.items():
        entry = entries.get(f"{root}/data/{key}")
        if entry is None or entry.file_size != storage.bytes:
            raise Refused("a tensor whose numbers are missing")
    return found, program.storages, archive, root


def _numbers_of_zip(file: BinaryIO, wanted: set[str]) -> Iterator[tuple[Storage, torch.Tensor]]:
    _, storages, archive, root = _zipped(file)
    for key in wanted:
        with archive.open(f"{root}/data/{key}") as numbers:
            yield storages[key], _tensor(numbers, storages[key])


# -- files of torch before 1.6: five programs, then the storages in the order that the fifth one lists ------------------


def _legacy(file: BinaryIO) -> tuple[Any, dict[str, Storage], list[str], int]:
    """(what it holds, its storages, their order, where the first one begins)."""
    size = file.seek(0, 2)
    file.seek(0)
    program = _Program(file.read(MOST_BYTES))
    if program.run() != _LEGACY_MAGIC or program.run() != _LEGACY_PROTOCOL:
        raise Refused("another kind of file")
    machine = program.run()
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise Refused("numbers in the byte order of another machine")
    found = program.run()
    order = program.run()
    storages = program.storages
    if not isinstance(order, list) or sorted(map(str, order)) != sorted(storages):
        raise Refused("a tensor whose numbers are missing")
    if program.at + sum(8 + storage.bytes for storage in storages.values()) > size:
        raise Refused("fewer numbers than its tensors have")
    return found, storages, order, program.at


def _numbers_of_legacy(file: BinaryIO, wanted: set[str]) -> Iterator[tuple[Storage, torch.Tensor]]:
    _, storages, order, at = _legacy(file)
    file.seek(at)
    for key in order:
        storage = storages[key]
        if struct.unpack("<q", file.read(8))[0] != storage.numbers:
            raise Refused("a tensor of another length than its own")
        if key in wanted:
            yield storage, _tensor(file, storage)
        else:
            file.seek(storage.bytes, 1)


def _tensor(file: Any, storage: Storage) -> torch.Tensor:
    """The numbers of a storage, from a file that stands at their beginning."""
    if not storage.numbers:
        return torch.empty(0, dtype=storage.dtype)
    buffer = bytearray(storage.bytes)
    view, filled = memoryview(buffer), 0
    while filled < len(buffer):
        read = file.readinto(view[filled : filled + 2**24])
        if not read:
            raise Refused("fewer numbers than its tensors have")
        filled += read
    return torch.frombuffer(buffer, dtype=storage.dtype)


# -- the program --------------------------------------------------------------------------------------------------------


_MARK = object()


def _view(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> Stored:
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise Refused("a tensor of odd parts")
    return Stored(storage, offset, shape, stride)


def _parameter(stored: Any, *rest: Any) -> Stored:
    if not isinstance(stored, Stored):
        raise Refused("a tensor of odd parts")
    return stored


def _table(*rest: Any) -> dict:
    if rest:
        raise Refused("a table that is not built step by step")
    return {}


_CALLS = {
    "collections OrderedDict": _table,
    "torch._utils _rebuild_tensor": _view,
    "torch._utils _rebuild_tensor_v2": _view,
    "torch._utils _rebuild_parameter": _parameter,
}
_NAMES: dict[str, Any] = {**_CALLS, **{f"torch {name}": dtype for name, dtype in _DTYPES.items()}}


class _Program:
    """The instructions of one file, one program after the other. `storages`: what the tensors refer to, by key."""

    def __init__(self, code: bytes):
        self.code, self.at, self.steps = code, 0, 0
        self.storages: dict[str, Storage] = {}
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What the next program builds."""
        self.stack, self.memo = [], {}
        try:
            while True:
                self.steps += 1
                if self.steps > MOST_STEPS:
                    raise Refused("far more than a table of tensors")
                instruction = self._take(1)
                if instruction == b".":
                    return self.stack.pop()
                _INSTRUCTIONS[instruction](self)
        except KeyError as error:
            raise Refused(f"more than tensors, or code ({ascii(error.args[0])[:60]})") from error
        except (IndexError, TypeError, UnicodeDecodeError, ValueError) as error:
            raise error if isinstance(error, Refused) else Refused("a broken list of tensors") from error

    def _take(self, count: int) -> bytes:
        taken = self.code[self.at : self.at + count]
        if len(taken) < count:
            raise Refused("a list of tensors that breaks off, or of absurd length")
        self.at += count
        return taken

    def _number(self, layout: str) -> Any:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _line(self) -> str:
        end = self.code.find(b"\n", self.at, self.at + 200)
        if end < 0:
            raise Refused("a name without an end")
        line = self.code[self.at : end].decode("ascii")
        self.at = end + 1
        return line

    def _since_mark(self) -> list[Any]:
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _MARK:
                items = self.stack[at + 1 :]
                del self.stack[at:]
                return items
        raise Refused("a broken list of tensors")

    def _set(self, pairs: list[Any]) -> None:
        table = self.stack[-1]
        if type(table) is not dict or len(pairs) % 2:
            raise Refused("a table that is none")
        for name, value in zip(pairs[::2], pairs[1::2]):
            if type(name) not in (str, int):
                raise Refused("a table whose names are no text")
            table[name] = value

    def _append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise Refused("a list that is none")
        self.stack[-1] += items

    def _tuple(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if len(items) < count or _MARK in items:
            raise Refused("a broken list of tensors")
        self.stack[-count:] = [items]

    def _call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if function not in _CALLS.values() or type(arguments) is not tuple:
            raise Refused("a call of something else than tensors need")
        self.stack.append(function(*arguments))

    def _attributes(self) -> None:
        """An ordered table's own attributes (the versions of layers), which nothing here needs."""
        self.stack.pop()
        if type(self.stack[-1]) is not dict:
            raise Refused("an object that is no table")

    def _storage(self) -> None:
        parts = self.stack.pop()
        if type(parts) is not tuple or not 5 <= len(parts) <= 6 or parts[0] != "storage":
            raise Refused("numbers of an odd kind")
        dtype, key, _, numbers = parts[1:5]
        plain = isinstance(dtype, torch.dtype) and type(key) is str and type(numbers) is int and numbers >= 0
        if not plain or parts[5:] not in ((), (None,)):
            raise Refused("numbers of an odd kind")
        storage = Storage(dtype, key, numbers)
        if self.storages.setdefault(key, storage) != storage:
            raise Refused("one key for different numbers")
        self.stack.append(storage)

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _remember(self, place: int) -> None:
        self.memo[place] = self.stack[-1]


def _text(program: _Program, layout: str) -> None:
    program._push(program._take(program._number(layout)).decode("utf-8"))


def _long(program: _Program) -> None:
    program._push(int.from_bytes(program._take(program._number("<B")), "little", signed=True))


def _global(program: _Program) -> None:
    program._push(_NAMES[f"{program._line()} {program._line()}"])


_INSTRUCTIONS = {
    b"\x80": lambda program: program._take(1),  # the protocol
    b"(": lambda program: program._push(_MARK),
    b"}": lambda program: program._push({}),
    b"]": lambda program: program._push([]),
    b")": lambda program: program._push(()),
    b"N": lambda program: program._push(None),
    b"\x88": lambda program: program._push(True),
    b"\x89": lambda program: program._push(False),
    b"K": lambda program: program._push(program._number("<B")),
    b"M": lambda program: program._push(program._number("<H")),
    b"J": lambda program: program._push(program._number("<i")),
    b"G": lambda program: program._push(program._number(">d")),
    b"\x8a": _long,
    b"X": lambda program: _text(program, "<I"),
    b"U": lambda program: _text(program, "<B"),
    b"q": lambda program: program._remember(program._number("<B")),
    b"r": lambda program: program._remember(program._number("<I")),
    b"h": lambda program: program._push(program.memo[program._number("<B")]),
    b"j": lambda program: program._push(program.memo[program._number("<I")]),
    b"c": _global,
    b"t": lambda program: program._push(tuple(program._since_mark())),
    b"\x85": lambda program: program._tuple(1),
    b"\x86": lambda program: program._tuple(2),
    b"\x87": lambda program: program._tuple(3),
    b"s": lambda program: program._set([program.stack.pop(-2), program.stack.pop()]),
    b"u": lambda program: program._set(program._since_mark()),
    b"a": lambda program: program._append([program.stack.pop()]),
    b"e": lambda program: program._append(program._since_mark()),
    b"R": lambda program: program._call(),
    b"b": lambda program: program._attributes(),
    b"Q": lambda program: program._storage(),
}
