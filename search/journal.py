"""What was paid for, in one SQLite file: costs, scores and latents of rollouts, so that no search pays for them twice.

All keys are opaque: whoever writes knows what tells one model, or one judge, from another. Nothing here is needed to finish a search:
whatever goes wrong is a JournalFault, whose words are one line for the user, and the search goes on without.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

VERSION = 1  # of the tables below
APPLICATION = 0x4E534A31  # "NSJ1": what marks the file as ours
CAP = 2 * 2**30  # bytes of latents
WAIT = 3.0  # seconds for another program to let go of the file
MODES = ("wal", "delete")  # network drives and some virtual ones cannot do the first
BESIDE = ("-wal", "-shm", "-journal")  # SQLite's own files beside the file
WITHOUT = "This search goes on without it."

TABLES = (
    "create table if not exists contexts (id integer primary key autoincrement, key text not null unique, mark text not null, facts text not null)",
    "create table if not exists rows (id integer primary key, context integer not null, lineage blob not null, nfe integer not null, seconds real not null, unique (context, lineage))",
    "create table if not exists scores (row integer not null, judge blob not null, scores text not null, primary key (row, judge)) without rowid",
    # row 0: of the context itself
    "create table if not exists tensors (id integer primary key, context integer not null, row integer not null, name text not null, dtype text not null, shape text not null, bytes integer not null, data blob not null)",
    "create index if not exists tensors_of_rows on tensors (row, context, name, bytes)",
    # what searches showed of drafts; files of before there were any get it when they are opened
    "create table if not exists drafts (id integer primary key, key text not null, said text not null, unique (key, said))",
)
NAMES = {"contexts", "rows", "scores", "tensors", "drafts"}

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64)
}


class JournalFault(Exception):
    """The journal cannot be used. Its words are one line for the user."""


@dataclass(frozen=True)
class Context:
    """Where rows can stand in for one another: one model, one schedule, one latent. mark: tells it from every other, in any file. facts,
    tensors: what it was begun with."""

    id: int
    mark: str
    facts: str
    tensors: dict[str, torch.Tensor]


@dataclass(frozen=True)
class Row:
    """What a rollout came to. lineage: the key of all that made it. scores: by the judge that is named with it, None = not judged by it yet.
    tensors: its latents, of a finished one."""

    lineage: bytes
    nfe: int
    seconds: float
    scores: tuple[float, ...] | None = None
    held_out: float | None = None
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Recorded:
    """A row as it is found again. kept: whether its latents are still there."""

    nfe: int
    seconds: float
    scores: tuple[float, ...] | None
    held_out: float | None
    kept: bool


class Journal:
    """The file at `path`, opened when it is first asked for something, and held open: closing it waits for the disk.

    cap: bytes of latents, beyond which the oldest go. wait: seconds for other programs to let go of the file. notes: what the user should
    know of its opening.
    """

    def __init__(self, path: Path, cap: int = CAP, wait: float = WAIT, modes: Sequence[str] = MODES) -> None:
        self.path, self.cap, self.wait, self.modes = Path(path), cap, wait, tuple(modes)
        self.notes: list[str] = []
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._lock = threading.RLock()

    # -- reading -----------------------------------------------------------------------------------------------------

    def context(self, key: str) -> Context | None:
        with self._using() as db:
            found = db.execute("select id, mark, facts from contexts where key = ?", (key,)).fetchone()
            if found is None:
                return None
            id, mark, facts = found
            return Context(id, mark, facts, _tensors(db, id, 0))

    def find(self, context: int, lineages: Sequence[bytes], judge: bytes) -> dict[bytes, Recorded]:
        """Those of the lineages that were paid for in this context, with what this judge said of them."""
        asking = """select r.nfe, r.seconds, s.scores, exists (select 1 from tensors t where t.row = r.id and t.context = r.context)
            from rows r left join scores s on s.row = r.id and s.judge = ? where r.context = ? and r.lineage = ?"""
        with self._using() as db:
            rows = ((one, db.execute(asking, (judge, context, one)).fetchone()) for one in lineages)
            return {one: _recorded(*row) for one, row in rows if row}

    def tensors(self, context: int, lineage: bytes) -> dict[str, torch.Tensor]:
        """The latents of a row; none when they are gone."""
        with self._using() as db:
            row = _row(db, context, lineage)
            return {} if row is None else _tensors(db, context, row)

    def drafts(self, key: str, most: int) -> list[str]:
        """The last things that searches said of their drafts under this key, the newest first."""
        with self._using() as db:
            said = db.execute("select said from drafts where key = ? order by id desc limit ?", (key, most))
            return [text for (text,) in said]

    def counts(self) -> tuple[int, int]:
        """(rows, bytes of latents)."""
        with self._using() as db:
            return db.execute("select count(*) from rows").fetchone()[0], _bytes(db)

    # -- writing, each in one transaction ------------------------------------------------------------------------------

    def begin(self, key: str, facts: str, tensors: Mapping[str, torch.Tensor]) -> Context | None:
        """A new context under this key; None where another program has begun one."""
        mark = secrets.token_hex(16)
        with self._writing() as db:
            new = db.execute(
                "insert into contexts (key, mark, facts) values (?, ?, ?) on conflict (key) do nothing",
                (key, mark, facts),
            )
            if not new.rowcount or new.lastrowid is None:
                return None
            _put(db, new.lastrowid, 0, tensors)
            return Context(new.lastrowid, mark, facts, dict(tensors))

    def set_aside(self, context: int) -> None:
        """Nobody finds this context again: its key is free for another."""
        with self._writing() as db:
            db.execute("update contexts set key = key || ' ' || id where id = ?", (context,))

    def write(self, context: int, judge: bytes, rows: Sequence[Row]) -> bool:
        """All of the rows or none. False when the context is gone, for the journal was cleared meanwhile."""
        with self._writing() as db:
            if not db.execute("select 1 from contexts where id = ?", (context,)).fetchone():
                return False
            for row in rows:
                self._write(db, context, judge, row)
            if any(row.tensors for row in rows):
                _trim(db, self.cap, context)
            return True

    def _write(self, db: sqlite3.Connection, context: int, judge: bytes, row: Row) -> None:
        new = db.execute(
            "insert into rows (context, lineage, nfe, seconds) values (?, ?, ?, ?) on conflict (context, lineage) do nothing",
            (context, row.lineage, row.nfe, row.seconds),
        ).rowcount
        id = _row(db, context, row.lineage)
        assert id is not None  # it was there, or is now
        if new:
            _put(db, context, id, row.tensors)
        if row.scores is not None:
            said = json.dumps([row.scores, row.held_out])
            db.execute("insert or replace into scores values (?, ?, ?)", (id, judge, said))

    def add_drafts(self, key: str, said: str) -> None:
        """What a search says of its drafts; the same search says the same again, and counts once."""
        with self._writing() as db:
            db.execute(
                "insert into drafts (key, said) values (?, ?) on conflict (key, said) do nothing", (key, said)
            )

    def clear(self) -> None:
        """Forget everything. A file that cannot be read is removed."""
        try:
            with self._writing() as db:
                for name in sorted(NAMES):
                    db.execute(f"delete from {name}")
            with self._using() as db:
                db.execute("vacuum")
        except _Unreadable:
            self.close()
            for file in (self.path, *_beside(self.path)):
                file.unlink(missing_ok=True)
        finally:
            self.close()

    def close(self) -> None:
        with self._lock:
            db, self._db = self._db, None
            if db is not None:
                db.close()

    def refresh(self) -> Journal:
        """Before a search: let go of a file that has been moved or removed."""
        with self._lock:
            if self._db is not None and self._file != self._identity():
                self.close()
        return self

    def _identity(self) -> tuple[int, int] | None:
        try:
            state = self.path.stat()
        except OSError:
            return None
        return state.st_dev, state.st_ino

    # -- the file ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._db is None:
                    self._db = self._open()
                    self._file = self._identity()
                yield self._db
            except (sqlite3.Error, OSError, ValueError) as error:
                self.close()  # which rolls back
                raise _fault(error) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._using() as db:
            db.execute("begin immediate")
            try:
                yield db
            except BaseException:
                if db.in_transaction:  # a full disk has ended it already
                    db.execute("rollback")
                raise
            db.execute("commit")

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        db = self._connection()
        try:
            if not self._ours(db):
                db.close()
                self._move_away()
                db = self._connection()
            self._prepare(db)
            return db
        except BaseException:
            db.close()
            raise

    def _connection(self) -> sqlite3.Connection:
        return sqlite3.Connection(
            str(self.path), timeout=self.wait, isolation_level=None, check_same_thread=False
        )

    def _ours(self, db: sqlite3.Connection) -> bool:
        """Whether it is new or of this version. A JournalFault for one that a newer NoiseSearch wrote."""
        version, application = _pragma(db, "user_version"), _pragma(db, "application_id")
        if application == APPLICATION and version > VERSION:
            raise _Unreadable(
                f"The search journal was written by a newer NoiseSearch, and this one leaves it alone. {WITHOUT}"
            )
        new = not db.execute("select count(*) from sqlite_master").fetchone()[0]
        return new or (application == APPLICATION and version == VERSION)

    def _move_away(self) -> None:
        number = 1
        while (old := self.path.with_name(f"{self.path.stem}.old-{number}{self.path.suffix}")).exists():
            number += 1
        os.replace(self.path, old)
        self.notes.append(
            f"The search journal was of an older version. It was left aside as {old.name}, and a new one begun."
        )

    def _prepare(self, db: sqlite3.Connection) -> None:
        """The tables, in the first journal mode that works here."""
        until = time.monotonic() + self.wait
        for mode in self.modes:
            try:
                _patiently(until, partial(self._in_mode, db, mode))
                return
            except sqlite3.OperationalError as error:
                if mode == self.modes[-1] or _locked(error):
                    raise

    def _in_mode(self, db: sqlite3.Connection, mode: str) -> None:
        if _pragma(db, f"journal_mode = {mode}") != mode:
            raise sqlite3.OperationalError(f"no journal mode {mode} here")
        db.execute(f"pragma synchronous = {'normal' if mode == 'wal' else 'full'}")
        db.execute("begin immediate")
        try:
            for table in TABLES:
                db.execute(table)
            if _pragma(db, "user_version") != VERSION:
                db.execute(f"pragma application_id = {APPLICATION}")
                db.execute(f"pragma user_version = {VERSION}")
            db.execute("commit")
        except BaseException:
            if db.in_transaction:
                db.execute("rollback")
            raise


class _Unreadable(JournalFault):
    """Not for this NoiseSearch: damaged, or newer."""


def _fault(error: Exception) -> JournalFault:
    """What the user reads of an error."""
    text = str(error)
    if _locked(error):
        return JournalFault(f"The search journal is locked by another program. {WITHOUT}")
    if "disk is full" in text or getattr(error, "errno", None) == 28:
        return JournalFault(f"The disk of the search journal is full. {WITHOUT}")
    if "readonly" in text or "unable to open" in text or isinstance(error, PermissionError):
        return JournalFault(f"The search journal cannot be written ({text}). {WITHOUT}")
    if isinstance(error, ValueError) or (
        isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
    ):
        return _Unreadable(
            f"The search journal is damaged ({text}); Clear search journal begins a new one. {WITHOUT}"
        )
    return JournalFault(f"The search journal failed ({text}). {WITHOUT}")


def _locked(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and ("locked" in str(error) or "busy" in str(error))


def _patiently(until: float, work: Callable[[], None]) -> None:
    """SQLite waits for locks by itself, but not while the journal mode changes."""
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not _locked(error) or time.monotonic() >= until:
                raise
        time.sleep(0.02)


def _pragma(db: sqlite3.Connection, what: str) -> Any:
    return db.execute(f"pragma {what}").fetchone()[0]


def _beside(path: Path) -> list[Path]:
    return [path.with_name(path.name + ending) for ending in BESIDE]


def _row(db: sqlite3.Connection, context: int, lineage: bytes) -> int | None:
    found = db.execute("select id from rows where context = ? and lineage = ?", (context, lineage)).fetchone()
    return found and found[0]


def _recorded(nfe: int, seconds: float, said: str | None, kept: int) -> Recorded:
    scores, held_out = (None, None) if said is None else json.loads(said)
    return Recorded(nfe, seconds, None if scores is None else tuple(scores), held_out, bool(kept))


def _bytes(db: sqlite3.Connection) -> int:
    return int(db.execute("select total(bytes) from tensors").fetchone()[0])


def _trim(db: sqlite3.Connection, cap: int, context: int) -> None:
    """Let the oldest tensors go until no more than `cap` bytes are left, but for what the running context was begun with."""
    over = _bytes(db) - cap
    others = "not (context = ? and row = 0)"
    oldest = db.execute(f"select id, bytes from tensors where {others} order by id", (context,))
    last = None
    while over > 0 and (found := oldest.fetchone()):
        last, size = found
        over -= size
    oldest.close()
    if last is not None:
        db.execute(f"delete from tensors where id <= ? and {others}", (last, context))


def _put(db: sqlite3.Connection, context: int, row: int, tensors: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        tensor = tensor if tensor.dtype in DTYPES.values() else tensor.float()
        data = tensor.flatten().view(torch.uint8).numpy().tobytes()
        told = (str(tensor.dtype).removeprefix("torch."), json.dumps(list(tensor.shape)), len(data), data)
        db.execute(
            "insert into tensors (context, row, name, dtype, shape, bytes, data) values (?, ?, ?, ?, ?, ?, ?)",
            (context, row, name, *told),
        )


def _tensors(db: sqlite3.Connection, context: int, row: int) -> dict[str, torch.Tensor]:
    rows = db.execute(
        "select name, dtype, shape, data from tensors where row = ? and context = ?", (row, context)
    )
    return {name: _tensor(dtype, shape, data) for name, dtype, shape, data in rows}


def _tensor(dtype: str, shape: str, data: bytes) -> torch.Tensor:
    """ValueError for what is no tensor."""
    if dtype not in DTYPES:
        raise ValueError(f"a latent of type {dtype!r:.40}")
    try:
        return torch.frombuffer(bytearray(data), dtype=DTYPES[dtype]).reshape(json.loads(shape))
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"a latent of {len(data)} bytes, shape {shape:.80}") from error
