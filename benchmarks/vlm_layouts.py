"""VLM Judge on what a newer ComfyUI really loads: tiny models of the true layouts through the stock Load CLIP, and one of true size.

    make bench ARGS="vlm_layouts --comfyui PATH"                     ComfyUI 0.26 or later; one that lacks a model says so
    make bench ARGS="vlm_layouts --comfyui PATH -- --true-size"      Qwen3-VL 4B in bf16 with empty weights: 12 GB of memory, minutes

Prints what docs/benchmarks/vlm_on_newer_comfyui.md holds.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

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
    with tempfile.TemporaryDirectory() as folder:
        name, weights = true_size_file(Path(folder))
        began = time.monotonic()
        clip = load(None, Path(folder), name)
        loading = time.monotonic() - began
        VisionLanguageModel._refuse_empty = lambda self, network, part: None  # as it is empty
        model = VisionLanguageModel(clip)
        rows = []
        for size in (256, 512):
            picture, began = fitted(torch.rand(1024, 1024, 3), size, model.kind.fit), time.monotonic()
            model.first_word(asked(TEMPLATE, PROMPT), picture)
            rows.append(f"| {size} x {size} | {(size // 32) ** 2} | {time.monotonic() - began:.0f} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    yield f"\n### Qwen3-VL 4B, {weights / 1e9:.2f} billion weights in bf16, ComfyUI {COMFYUI}, one CPU thread\n"
    yield f"Loading took {loading:.0f} s; the process had {peak:.1f} GB at most.\n"
    yield "| picture | tokens of it | seconds for one question |\n|---|---:|---:|"
    yield from rows


if __name__ == "__main__":
    main()
