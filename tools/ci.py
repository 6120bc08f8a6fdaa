"""Everything that .ci/run judges, one after another, each under a limit of its own. Standard library only.

The exit code is 0 only when all went well. The last lines repeat what each one closed with, the tests' own last.
"""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from suites import SUITES

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Target:
    """`make NAME`, and the minutes after which it is ended."""

    name: str
    minutes: float


# The tests first, for they set up what the others need.
LONGER = tuple(Target(f"test-{name}", minutes) for name, minutes in SUITES.items())
TARGETS = (Target("test", 25), Target("types", 4), *LONGER)
AGAIN, AGAIN_MINUTES = (
    ("test-browser",),
    5,
)  # pages that are drawn in time: what failed is run once more, and must pass then


def main(targets=TARGETS) -> int:
    closing, failed = {}, {}
    for target in targets:
        print(f"== make {target.name} (at most {target.minutes:g} minutes)", flush=True)
        code, closing[target.name] = run(
            ["make", "--no-print-directory", target.name, "ARGS=--own"], target.minutes * 60
        )
        if code and target.name in AGAIN:
            print(f"== make {target.name}: what failed, once more", flush=True)
            code, closing[target.name] = run(
                ["make", "--no-print-directory", target.name, "ARGS=--own -- --last-failed"],
                AGAIN_MINUTES * 60,
            )
        if code:
            failed[target.name] = code
            closing[target.name] += f"   <- exit code {code}"
    for name in [*list(closing)[1:], *list(closing)[:1]]:
        print(f"== make {name}\n{closing[name]}", flush=True)
    return next(iter(failed.values()), 0)


def environment() -> dict:
    """The environment without what a make that runs us tells the makes below it: they would take its ARGS.

    A variable of its command line comes down twice, inside MAKEFLAGS and as a variable of the environment.
    """
    handed_down = ("ARGS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS")
    return {name: value for name, value in os.environ.items() if name not in handed_down}


def run(command, seconds: float) -> tuple[int, str]:
    """(exit code, last line but make's own) of a command, whose output is passed on; 124 when it had to be ended."""
    # A group of its own, so that the servers and workers it started end with it.
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    late = threading.Event()

    def end():
        late.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(seconds, end)
    timer.start()
    last = ""
    try:
        for line in process.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.flush()
            text = line.decode("utf-8", "replace").strip()
            last = text if text and not text.startswith("make:") else last
        process.wait()
    finally:
        timer.cancel()
    if late.is_set():
        return 124, f"did not end within {seconds / 60:g} minutes; it was at: {last}"
    return process.returncode, last


if __name__ == "__main__":
    sys.exit(main())
