"""Runs overhead.py's searches with the pack of another checkout, one for each line "race seed" that it reads; answers with CPU seconds.

_overhead_worker.py CHECKOUT WORLD
"""

import importlib
import sys
from pathlib import Path

checkout, world = Path(sys.argv[1]).resolve(), sys.argv[2]
sys.path.insert(0, str(checkout / "benchmarks"))
importlib.import_module("_trials")  # the other checkout's: it loads the pack
try:
    importlib.import_module("noisesearch.session.run")
except ModuleNotFoundError:  # it lived among the nodes
    sys.modules["noisesearch.session.run"] = importlib.import_module("noisesearch.nodes.run")
sys.path[0] = str(Path(__file__).resolve().parent)

import torch  # noqa: E402
from overhead import Bench, cpu, races  # noqa: E402

with torch.inference_mode():
    bench, kept = Bench(world), list(races())
    for line in sys.stdin:
        race, seed = map(int, line.split())
        _, _, batches, _, search = kept[race]
        spent = cpu(lambda apart: bench.ours(seed, apart, search, sum(batches), max(batches)))[1]  # noqa: B023
        print(spent, flush=True)
