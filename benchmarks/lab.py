"""The laboratory's numbers: trains what is not trained yet, measures what is not measured yet, writes tables, figures and the claims into docs/lab.

    python tools/dev.py bench lab                      all of it (the results in lab/results are taken as they are)
    python tools/dev.py bench lab -- --only students   one part: interpolants, toy, teachers, students, widths, search, outputs, reflow, upscaling, levers
    python tools/dev.py bench lab -- --docs            only the docs, from lab/results
    python tools/dev.py bench lab -- --quick           everything once in small, in under ten minutes; nothing of it is kept in the docs
    python tools/dev.py bench lab -- --again           measure (and train) all of it anew

Runs lie in .cache/lab and go on where they were stopped; results lie in lab/results, row by row.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from pack import use_comfyui  # noqa: E402

use_comfyui(os.environ.get("NOISESEARCH_COMFYUI", ROOT / ".comfyui" / "ComfyUI"))
import torch  # noqa: E402
from _lab_report import write_docs  # noqa: E402

from noisesearch.lab import digits, experiments, reflow, results, scaling, toy, upscaling  # noqa: E402
from noisesearch.lab.results import Table  # noqa: E402

QUICK = {
    "toy": dict(
        steps=120, first=120, grids=(16, 256), names=("sCD, all on", "without warm-up", "sCT, all on")
    ),
    "teachers": dict(first_look=20, headline=40, steps=(4, 12)),
    "students": dict(first_look=20, headline=40, seeds=(1,)),
    "widths": dict(widths=(32, 64), steps=(4, 8), per_digit=20, per_digit_first=20),
    "search": dict(prompts=40, steps=(2, 4), counts=(1, 4)),
    "outputs": dict(seeds=(1,), width=32, steps=100, per_digit=20, names=("eps-MSE's weighting",)),
    "reflow": dict(steps=(1, 4), per_digit=20),
    "levers": dict(names=("as shipped", "prior weight 1 / tan t"), first_look=20, headline=40),
    "upscaling": dict(widths=(32, 64), steps=(1, 4), most=200),
}


def parts(quick):
    """{part: what fills its table}."""

    def settings(name):
        return QUICK.get(name, {}) if quick else {}

    return {
        "interpolants": lambda table: experiments.fill_interpolants(table),
        "toy": lambda table: toy.fill(table, **settings("toy")),
        "teachers": lambda table: experiments.fill_teachers(table, **settings("teachers")),
        "students": lambda table: experiments.fill_students(table, **settings("students")),
        "widths": lambda table: scaling.fill_quality(table, **settings("widths")),
        "search": lambda table: scaling.fill_search(
            table, experiments.searched_models(widths=Table("widths").rows), **settings("search")
        ),
        "outputs": lambda table: experiments.fill_eps_and_flow(table, **settings("outputs")),
        "reflow": lambda table: reflow.fill(table, **settings("reflow")),
        "levers": lambda table: experiments.fill_levers(table, **settings("levers")),
        "upscaling": lambda table: upscaling.fill(table, **settings("upscaling")),
    }


def make_small():
    """Everything shorter and in folders of its own."""
    shutil.rmtree(ROOT / ".cache" / "lab_quick", ignore_errors=True)
    digits.CACHE = ROOT / ".cache" / "lab_quick"
    results.FOLDER = digits.CACHE / "results"
    digits.TEACHER_STEPS, digits.STUDENT_STEPS = 60, 60
    scaling.TRAINING, scaling.KEPT, scaling.WIDTHS = 60, (20, 40), (32, 64)
    scaling.DISTILLED_WIDTHS, scaling.DISTILLING = (32,), 40
    upscaling.TRAINING, reflow.TRAINING, reflow.PAIRS, reflow.PAIR_STEPS = 60, 40, 512, 4


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=None, metavar="PART")
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.quick:
        make_small()
    elif options.again:
        shutil.rmtree(results.FOLDER, ignore_errors=True)
        for file in digits.CACHE.glob("*.[ps]*t*"):
            if file.stem != "digits":
                file.unlink()
    doing = parts(options.quick)
    unknown = set(options.only or ()) - set(doing)
    if unknown:
        sys.exit(f"There is no part {', '.join(sorted(unknown))}; there are {', '.join(doing)}.")
    if not (ROOT / ".cache" / "lab" / "digits.safetensors").is_file() and not options.docs:
        for command in ("train_demo.py", "train_lab.py"):
            subprocess.run([sys.executable, str(ROOT / "tools" / command), "data"], check=True)
    for name in () if options.docs else options.only or doing:
        started = time.process_time()
        doing[name](Table(name))
        print(f"{name}: {time.process_time() - started:.0f} s of CPU time", flush=True)
    if not options.quick:
        write_docs()


if __name__ == "__main__":
    main()
