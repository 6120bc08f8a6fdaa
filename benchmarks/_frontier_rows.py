"""The rows of the frontier on disk: one line for each problem and contestant, never measured twice."""

from __future__ import annotations

import json
from pathlib import Path


class Rows:
    """A file of JSON lines. What a broken run left half written at its end is measured again."""

    def __init__(self, path: Path):
        self.path, self.found = path, {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                self.found[row["problem"], row["repeat"], row["label"]] = row

    def has(self, problem: str, repeat: int, label: str, budgets: tuple[int, ...]) -> bool:
        """Whether it is there, measured at these budgets."""
        row = self.found.get((problem, repeat, label))
        return row is not None and set(map(str, budgets)) <= set(row["budgets"])

    def add(self, rows: list[dict]) -> None:
        """rows: of one problem; all are written at once."""
        fresh = (
            self.path.is_file() and not self.path.read_bytes().endswith(b"\n") and self.path.stat().st_size
        )
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" if fresh else "")
            file.writelines(json.dumps(row) + "\n" for row in rows)
        self.found |= {(row["problem"], row["repeat"], row["label"]): row for row in rows}
