"""Kills searches and breaks their disk at every write of the journal, and looks at what a resumed search makes of it.

    LD_PRELOAD=fault_shim.so python journal_crashes.py every FOLDER STEP [ALGORITHM ...]      (STEP: 1 = at every write, 2 = at every other)
    python journal_crashes.py random FOLDER TIMES [ALGORITHM ...]

What is killed is a child that is forked from here, so nothing is imported twice. Prints one line of JSON: how often what was done, and what
went wrong.
"""

import ctypes
import json
import mmap
import os
import random
import shutil
import signal
import sqlite3
import struct
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tools")]

from pack import load_pack  # noqa: E402

load_pack()

from journaled_run import ALGORITHMS, Broken, Once, alike, sound  # noqa: E402
from noisesearch.search.journal import Journal  # noqa: E402

KILL, FULL, IO = "kill", "disk full", "I/O error"
MODES = {KILL: 1, FULL: 2, IO: 3}
WAVE = 3
SMALL = {"random": 60, "zero order": 60, "paths": 40, "half way": 40, "renoise": 60}  # NFE


class Scene:
    """One algorithm on one kind of file. begin: makes what is there before the search."""

    def __init__(self, name, folder, modes=("wal", "delete"), begin=lambda path: None):
        self.name, self.modes, self.begin = name, modes, begin
        self.path = Path(folder) / name.replace(" ", "-") / "journal.sqlite3"
        self.pause = 0.0
        self.whole = self.search(Broken())

    def search(self, journal=None, on_progress=lambda progress: None, spy=lambda evaluator: None):
        journal = journal or Journal(self.path, modes=self.modes)
        once = Once(self.path, ALGORITHMS[self.name], SMALL[self.name], journal=journal, fake={"wave": WAVE})
        once.inner.before_wave = lambda number: time.sleep(self.pause)
        spy(once.inner)
        return once(on_progress=on_progress)

    def afresh(self):
        shutil.rmtree(self.path.parent, ignore_errors=True)
        self.path.parent.mkdir(parents=True)
        self.begin(self.path)

    def cut(self, arm, after=None):
        """(exit code, evaluations, waves told) of a search in a child; after: seconds until it is killed."""
        self.afresh()
        shared = mmap.mmap(-1, 4096)
        child = os.fork()
        if child == 0:
            code = 3
            try:
                code = self._child(arm, shared)
            finally:
                os._exit(code)
        if after is not None:
            time.sleep(after)
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return code, *struct.unpack("ii", shared[:8])

    def _child(self, arm, shared):
        def note(place, value):
            shared[4 * place : 4 * place + 4] = struct.pack("i", value)

        def spy(evaluator):
            real = evaluator._sampled

            def sampled(id, rollout):
                nfe = real(id, rollout)
                note(0, len(evaluator.paid))
                return nfe

            evaluator._sampled = sampled

        told = []

        def progress(progress):
            told.append(progress)
            note(1, len(told))

        arm()
        return 0 if alike(self.search(on_progress=progress, spy=spy), self.whole) else 1

    def with_errors(self, arm):
        """What is wrong with a search whose disk fails, in words; and how many writes there were."""
        self.afresh()
        lib = arm(self)
        once = self.search()
        count = lib.fault_count()
        lib.fault_arm(b"", 0, 0)
        wrong = [] if alike(once, self.whole) else ["the search itself is another"]
        if len(once.evaluator.notes) > 2 or any("\n" in note for note in once.evaluator.notes):
            wrong.append(f"said: {once.evaluator.notes}")
        return wrong, count

    def judge_resumed(self):
        """What is wrong with a search that goes on from what is there, in words; and how many whole samples it found journaled."""
        wrong = []
        before = self.journaled()
        rest = self.search()
        if not alike(rest, self.whole):
            wrong.append("another winner")
        keys = {rest.evaluator._lineages[id]: id for id in rest.result.outcomes}
        whole = {key for key in before if rest.result.outcomes[keys[key]].finished}
        again = [
            id for id, outcome in rest.result.outcomes.items() if rest.inner._path(id) in rest.inner.paid
        ]
        if whole & {rest.evaluator._lineages[id] for id in again}:
            wrong.append("a journaled sample was paid twice")
        recomputed = sum(rest.evaluator._lineages[id] in before for id in again)
        if recomputed and not rest.account.recomputed_nfe:
            wrong.append("what was sampled again was not counted")
        if not sound(self.path):
            wrong.append("the file is damaged")
        return wrong, len(before)

    def journaled(self):
        """The keys of all rows that can be used, read by SQLite alone."""
        if not self.path.exists():
            return set()
        with closing(sqlite3.Connection(str(self.path), timeout=3)) as db:
            if not db.execute("select 1 from sqlite_master where name = 'contexts'").fetchall():
                return set()
            return {
                row[0]
                for row in db.execute("select lineage from rows where context in (select id from contexts)")
            }


def older(path):
    with closing(sqlite3.Connection(str(path), isolation_level=None)) as db:
        db.execute("create table rows (everything was different)")


def every(folder, step, names):
    lib = ctypes.CDLL(os.environ["LD_PRELOAD"])
    scenes = [Scene(name, folder) for name in names]
    scenes.append(Scene(names[0], f"{folder}/delete", ("delete",)))
    scenes.append(Scene(names[0], f"{folder}/older", begin=older))
    done, wrong = dict.fromkeys(MODES, 0), []
    for scene in scenes:

        def arm(scene, mode=0, number=0):
            lib.fault_arm(b"journal.", mode, number)
            return lib

        faults, count = scene.with_errors(arm)
        wrong += [f"{scene.path.parent}: without a fault: {fault}" for fault in faults]
        for number in range(1, count + 1, step):
            for mode in MODES:
                armed = partial(arm, scene, MODES[mode], number)
                if mode == KILL:
                    code, paid, _ = scene.cut(armed)
                    faults = [] if code == -signal.SIGKILL else [f"exit code {code}"]
                else:
                    faults, _ = scene.with_errors(lambda scene, armed=armed: armed())
                resumed, rows = scene.judge_resumed()
                if mode == KILL and paid - rows > WAVE:
                    faults.append(f"{paid} evaluations, {rows} rows: more than one wave is lost")
                wrong += [f"{scene.path.parent} {mode} at {number}: {fault}" for fault in faults + resumed]
                done[mode] += 1
    return {"done": done, "wrong": wrong}


def at_random(folder, times, names):
    chance, done, wrong, rows_found = random.Random(11), 0, [], 0
    for name in names:
        scene = Scene(name, folder)
        scene.pause = 0.004  # a search is mostly waiting for its model
        began = time.monotonic()
        scene.cut(lambda: None)
        takes = time.monotonic() - began
        for _ in range(times):
            after = chance.uniform(0.1 * takes, takes)
            code, paid, _ = scene.cut(lambda: None, after)
            faults, rows = scene.judge_resumed()
            rows_found += 0 < rows < len(scene.whole.result.outcomes)
            if code not in (0, -signal.SIGKILL):
                faults.append(f"exit code {code}")
            if paid - rows > WAVE:
                faults.append(f"{paid} evaluations, {rows} rows: more than one wave is lost")
            wrong += [f"{name} after {after:.4f} s: {fault}" for fault in faults]
            done += 1
    return {"done": done, "midway": rows_found, "wrong": wrong}


if __name__ == "__main__":
    what, folder, *rest = sys.argv[1:]
    work = {"every": every, "random": at_random}[what]
    print(json.dumps(work(folder, int(rest[0]), rest[1:] or list(ALGORITHMS))))
