"""Hundreds of searches and stops in one process: memory and time per search stay flat."""

import gc
import os
import statistics
import time
from pathlib import Path

import pytest
import torch
from graphs import Graph

from noisesearch.search.algorithms import RandomSearch, SearchOverPaths, ZeroOrder
from noisesearch.session.stop import Stopper

PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
COUNT = 200


def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


class After(Stopper):
    """Stops once the model has run so many rows more."""

    def __init__(self, spy, rows):
        super().__init__("soak")
        self.spy, self.rows = spy, spy.rows + rows

    @property
    def stopped(self):
        return self.spy.rows >= self.rows


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
@pytest.mark.parametrize("stopped", [False, True], ids=["searches", "stops"])
@torch.inference_mode()
def test_hundreds_in_a_row_leave_nothing_behind(stopped):
    graph, seconds, memory = Graph.mixture("CONST"), [], []
    searches = [RandomSearch(), ZeroOrder(), SearchOverPaths()]
    for number in range(COUNT):
        wishes = {"stopper": After(graph.model.spy, 30)} if stopped else {}
        began = time.process_time()
        found = graph.search(searches[number % 3], seed=number, budget_nfe=60, batch_size=2, **wishes)
        seconds.append(time.process_time() - began)
        assert (found.report["images"][0]["stopped"] == "stopped by hand") == stopped
        graph.model.spy.reset()
        if number % 20 == 19:
            memory.append(resident())
    first, last = (statistics.median(part) for part in (seconds[20:80], seconds[-60:]))
    print(f"{first:.4f} s, then {last:.4f} s; {memory[0] / 2**20:.0f} MiB, then {memory[-1] / 2**20:.0f} MiB")
    assert memory[-1] <= 1.03 * memory[1]
    assert last <= 1.05 * first + 0.01  # a clock tick of CPU time
