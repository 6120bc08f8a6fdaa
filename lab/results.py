"""Measured numbers as JSON files in lab/results, row by row, so that a run that was stopped goes on and the docs quote nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "results"


class Table:
    """Rows by name, written at once. `row(name, make)` measures only what is not there yet."""

    def __init__(self, name, folder=None):
        self.path = (folder or FOLDER) / f"{name}.json"
        self.rows = _read(self.path)

    def row(self, name, make):
        if name not in self.rows:
            self.rows[name] = rounded(make())
            self.write()
            print(f"{self.path.stem}: {name}: {self.rows[name]}", flush=True)
        return self.rows[name]

    def write(self):
        """To the file, with the rows that another process has put there meanwhile."""
        self.rows = {**_read(self.path), **self.rows}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(self.rows, indent=1) + "\n", "utf-8")
        new.replace(self.path)


def _read(path):
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def rounded(value, digits=5):
    """Floats to so many significant digits, in nested lists and dicts."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {str(key): rounded(part, digits) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(part, digits) for part in value]
    return value
