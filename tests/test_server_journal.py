"""A server that is killed in the middle of a search, and started again (docs/journal.md)."""

import importlib.util
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from comfy_server import ComfyServer, base_directory

_spec = importlib.util.spec_from_file_location(
    "server_search", Path(__file__).parent / "test_server_search.py"
)
server_search = sys.modules["server_search"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(server_search)


def rows(base):
    file = base / "user" / "__noise_search" / "journal.sqlite3"
    if not file.exists():
        return 0
    with closing(sqlite3.Connection(str(file), timeout=5)) as db:
        there = db.execute("select count(*) from sqlite_master where name = 'rows'").fetchone()[0]
        return db.execute("select count(*) from rows").fetchone()[0] if there else 0


def totals(entry):
    return entry["outputs"]["10"]["noise_search"][0]["totals"]


@pytest.mark.slow
def test_killed_with_its_server_a_search_goes_on_where_it_was(server, comfyui, tmp_path):
    graph = server_search.searching(candidates=200, batch_size=4, seed=991)
    whole = server.run(graph)
    base = base_directory(tmp_path / "base")
    with ComfyServer(comfyui, base, log=tmp_path / "first.log") as first:
        first.queue(graph)
        until = time.monotonic() + 120
        while rows(base) < 20 and time.monotonic() < until:
            time.sleep(0.05)
        first.process.kill()
        first.process.wait()
    paid = rows(base)
    assert 20 <= paid < 200, "it was not killed in the middle"
    with ComfyServer(comfyui, base, log=tmp_path / "second.log") as second:
        rest = second.run(graph)
        assert second.images(rest)["11"] == server.images(whole)["11"]
        told = totals(rest)
        assert told["journal_candidates"] == paid and told["check_nfe"] == 2
        assert told["nfe"] + told["journal_nfe"] == totals(whole)["nfe"]
        more = second.run(server_search.searching(candidates=204, batch_size=4, seed=991))
        assert totals(more)["journal_candidates"] == 200 and totals(more)["check_nfe"] == 0
        text = server_search.searching(candidates=200, batch_size=4, seed=991, prompt="digit four")
        assert totals(second.run(text))["nfe"] == 0, "another prompt for the judge samples nothing"
