"""What the panel costs: CPU time spent on states and pictures within a search of 64 scenes, and what is sent.

make bench ARGS=panel          a minute on one idle core
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time

from _trials import World  # the first: it finds ComfyUI

import comfy.samplers
import folder_paths
import torch

from noisesearch.search.algorithms import RandomSearch
from noisesearch.session import live
from noisesearch.session.live import Live, LiveSearch, Viewer
from noisesearch.session.run import Wishes, search_images

CANDIDATES = 64
GOAL = 0.01  # of the search's time
TOLD = {
    Live: ("begin", "glance", "tell", "ui"),
    LiveSearch: ("begin", "saw", "advance", "wave", "finishing", "done"),
}


class Clock:
    """CPU seconds of this thread spent in the panel's methods, those that call each other counted once."""

    def __init__(self):
        self.seconds, self.depth = 0.0, 0

    def time(self, kind, name):
        method = getattr(kind, name)

        def timed(*args, **kwargs):
            began, self.depth = time.thread_time(), self.depth + 1
            try:
                return method(*args, **kwargs)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds += time.thread_time() - began

        setattr(kind, name, timed)


class Server:
    """In the place of ComfyUI's: it only writes states down, as the server's other thread does."""

    def __init__(self):
        self.sent = []

    def send_sync(self, event, state, client):
        self.sent.append((time.monotonic(), len(json.dumps(state))))

    def most(self, of):
        """The most that `of` makes of the sizes sent within one second."""
        return max(of([size for other, size in self.sent if at <= other < at + 1]) for at, _ in self.sent)


def measure(rows: int, seed: int) -> dict:
    """One search, `rows` candidates at a time; 0 = as many as fit, which is what a node does."""
    world, server, clock = World("scenes"), Server(), Clock()
    prompt = world.settings.examples[0]
    wishes = Wishes(candidates=CANDIDATES, batch_size=rows, journal=False)
    kept = {kind: dict(vars(kind)) for kind in TOLD}
    with tempfile.TemporaryDirectory() as folder:
        folder_paths.set_temp_directory(folder)
        live.server = lambda: server
        for kind, names in TOLD.items():
            for name in names:
                clock.time(kind, name)
        panel = Live(Viewer("client", "workflow", "prompt", "10", "run"))
        began = time.thread_time()
        search_images(
            world.guider(prompt),
            comfy.samplers.sampler_object(world.settings.sampler),
            world.sigmas(),
            world.latent,
            seed,
            RandomSearch(),
            world.verifier,
            world.vae,
            prompt,
            wishes,
            panel=panel,
        )
        panel.ui([], False)
        total = time.thread_time() - began
    for kind, names in TOLD.items():
        for name in names:
            setattr(kind, name, kept[kind][name])
    return {
        "rows": rows,
        "panel": clock.seconds,
        "search": total,
        "share": clock.seconds / (total - clock.seconds),
        "messages": server.most(len),
        "bytes": server.most(sum),
    }


@torch.inference_mode()
def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one search instead of six")
    quick = parser.parse_args(arguments).quick
    torch.set_num_threads(1)
    print("rows  panel  search  share   most messages and bytes in a second")
    shares = []
    for rows in (0,) if quick else (0, 16, 4) * 2:
        found = measure(rows, 1000 * len(shares))
        shares.append(found["share"])
        print(
            f"{rows:4d}  {found['panel']:5.3f}  {found['search']:6.2f}  {found['share']:6.2%}  {found['messages']:3d}  {found['bytes']:7d}",
            flush=True,
        )
    return int(max(shares) > GOAL)


if __name__ == "__main__":
    sys.exit(main())
