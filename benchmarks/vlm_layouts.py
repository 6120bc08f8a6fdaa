"""VLM Judge on what a newer ComfyUI really loads: tiny models of the true layouts through the stock Load CLIP, and one of true size.

    make bench ARGS="vlm_layouts --comfyui PATH"                     ComfyUI 0.26 or later; one that lacks a model says so
    make bench ARGS="vlm_layouts --comfyui PATH -- --true-size"      Qwen3-VL 4B in bf16 with empty weights: 5 GB of memory and 9 of file cache, minutes

Prints what docs/benchmarks/vlm_on_newer_comfyui.md holds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path
from unittest import mock

import torch
from _trials import ROOT

sys.path.insert(0, str(ROOT / "tests"))
from tiny_vlms import LAYOUTS, available, direct, load, true_size_file, write  # noqa: E402

from noisesearch.compat import COMFYUI  # noqa: E402
from noisesearch.verifiers.base import Batch  # noqa: E402
from noisesearch.verifiers.judges.vlm_presets import vlm_judge  # noqa: E402
from noisesearch.verifiers.judges.vlm_questions import TEMPLATE, asked  # noqa: E402
from noisesearch.verifiers.networks.vlm import VisionLanguageModel  # noqa: E402
from noisesearch.verifiers.networks.vlm_kinds import fitted  # noqa: E402

PROMPT = "a red cube left of a blue ball"
QUESTIONS = "Is there a red cube?\nIs it left of a ball?\nIs the ball blue?"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--true-size", action="store_true")
    options = parser.parse_args()
    if options.true_size:
        return print("\n".join(true_size()))
    print(f"\n### ComfyUI {COMFYUI}, torch {torch.__version__}, CPU, float32\n")
    print(
        "| model | tokens it reads | log p(yes) from a direct forward, at most | same again, alone and in a batch | questions as if each were alone | moved out and back |"
    )
    print("|---|---:|---:|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, layout in LAYOUTS.items():
            why = available(layout)
            row = f"{why} | | | |" if why else " | ".join(checked(layout, Path(folder)))
            print(f"| {name} | {row} |", flush=True)


def checked(layout, folder):
    import comfy.model_management as mm

    clip = load(layout, folder, write(layout, folder))
    judge = vlm_judge(clip, "the whole prompt", size=256)
    torch.manual_seed(1)
    batch = Batch(torch.rand(3, 256, 192, 3), PROMPT)
    model, scores, apart, count = judge.model, judge.score(batch), 0.0, 0
    for score, image in zip(scores, batch.images):
        shown = fitted(image, 256, model.kind.fit)
        tokens = model._tokens(asked(TEMPLATE, PROMPT), shown, model._picture_word)
        count = len((next(iter(tokens.values())) if isinstance(tokens, dict) else tokens)[0])
        expected = direct(layout, clip, tokens).double().log_softmax(-1)[model.token("Yes")]
        apart = max(apart, abs(float(score.double().log() - expected)))
    yield str(count)
    yield f"{apart:.1e}"
    alone = torch.cat([judge.score(Batch(image[None], PROMPT)) for image in batch.images])
    yield said(torch.equal(judge.score(batch), scores) and torch.equal(alone, scores))
    together = vlm_judge(clip, "checks of the prompt", QUESTIONS, "mean", 256).score(batch)
    single = [
        vlm_judge(clip, "the whole prompt", one, size=256).score(batch) for one in QUESTIONS.splitlines()
    ]
    yield said(torch.allclose(together, torch.stack(single).mean(0), rtol=1e-6, atol=0))
    mm.unload_all_models()
    yield said(torch.equal(judge.score(batch), scores))


def said(yes):
    return "yes" if yes else "NO"


def true_size():
    """One picture, one question, at the sizes of Qwen3-VL 4B. Its weights are all 0: time and memory do not hang on them, its answer means nothing."""
    layout = LAYOUTS["Qwen3-VL"]
    if why := available(layout):
        yield why
        return
    with tempfile.TemporaryDirectory() as folder, Held() as held:
        name, weights = true_size_file(Path(folder))
        put = torch.nn.Module.load_state_dict

        def in_place(network, state, strict=True, assign=False):
            return put(network, state, strict, True)  # spares a copy, for machines of 16 GB

        with mock.patch.object(torch.nn.Module, "load_state_dict", in_place):
            clip = load(None, Path(folder), name)
        VisionLanguageModel._refuse_empty = lambda self, network, part: None  # as it is empty
        model = VisionLanguageModel(clip)
        rows = []
        for size in (256, 512):
            picture = fitted(torch.rand(1024, 1024, 3), size, model.kind.fit)
            began = time.process_time()
            model.first_word(asked(TEMPLATE, PROMPT), picture)
            rows.append(
                f"| {size} x {size} | {(size // 32) ** 2} | {time.process_time() - began:.0f} | {held.most:.1f} GB |"
            )
    yield f"\n### Qwen3-VL 4B, {weights / 1e9:.2f} billion weights in bf16, ComfyUI {COMFYUI}, one CPU thread\n"
    yield f"The weights take {2 * weights / 1e9:.1f} GB, which are not counted below: they stay in the file that they are read from.\n"
    yield "| picture | tokens of it | seconds for one question | memory besides the weights, at most |\n|---|---:|---:|---:|"
    yield from rows


class Held:
    """most: the memory of this process at its height so far, in GB, without pages of files, which the system takes back when it wants (Linux)."""

    def __init__(self):
        self.most, self._over = 0.0, threading.Event()

    def __enter__(self):
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *fault):
        self._over.set()
        self._watch.join()

    def _look(self):
        while not self._over.wait(0.05):
            lines = Path("/proc/self/status").read_text().splitlines()
            now = next(int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith("RssAnon"))
            self.most = max(self.most, now)


if __name__ == "__main__":
    main()
