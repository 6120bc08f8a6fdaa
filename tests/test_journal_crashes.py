"""A search that is killed, or whose disk fails, at whatever it writes into the journal (testing/journal_crashes.py does it)."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTING = Path(__file__).resolve().parent.parent / "testing"
CC = shutil.which("cc") or shutil.which("gcc")
MEMORY = Path("/dev/shm")  # the disk's own speed is not what is asked
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs fork and LD_PRELOAD")


@pytest.fixture
def folder(tmp_path):
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    here = MEMORY / f"noisesearch-{os.getpid()}"
    yield here
    shutil.rmtree(here, ignore_errors=True)


def crashes(*arguments, **environment):
    run = subprocess.run(
        [sys.executable, str(TESTING / "journal_crashes.py"), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture
def shim(tmp_path):
    if CC is None:
        pytest.skip("needs a C compiler")
    library = tmp_path / "fault_shim.so"
    source = TESTING / "fault_shim.c"
    subprocess.run([CC, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return str(library)


def at_every(step, folder, shim, *names):
    said = crashes("every", folder, step, *names, LD_PRELOAD=shim)
    assert said["wrong"] == []
    return said["done"]


def test_killed_or_without_a_disk_at_many_of_its_writes(folder, shim):
    done = at_every(9, folder, shim, "random", "zero order", "paths")
    assert set(done) == {"kill", "disk full", "I/O error"} and min(done.values()) >= 30


@pytest.mark.kills
def test_killed_or_without_a_disk_at_every_write(folder, shim):
    """Of each algorithm, in both journal modes, and while an older file is left aside."""
    assert min(at_every(1, folder, shim).values()) >= 400


def test_killed_at_random_moments(folder):
    said = crashes("random", folder, 20, "random", "zero order", "paths")
    assert said["wrong"] == [] and said["done"] == 60 and said["midway"] >= 5


@pytest.mark.kills
def test_killed_at_many_random_moments(folder):
    said = crashes("random", folder, 200)
    assert said["wrong"] == [] and said["done"] == 1000 and said["midway"] >= 100
