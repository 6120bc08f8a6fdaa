"""The demo's pictures: a before/after contact sheet, and score against NFE."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)

RIGHT, WRONG = "#1a7f37", "#cf222e"


def picture(png: bytes) -> torch.Tensor:
    """A PNG as [H, W, 3] in [0, 1]."""
    return torch.from_numpy(np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.float32) / 255)


def contact_sheet(runs: list, modes: tuple[str, ...], path: Path) -> None:
    """One column per prompt, one row per mode; the frame says whether the independent judge found everything right."""
    prompts = list(dict.fromkeys(run.prompt for run in runs))
    figure, axes = plt.subplots(
        len(modes), len(prompts), figsize=(1.7 * len(prompts), 1.75 * len(modes) + 0.9), squeeze=False
    )
    for run in runs:
        cell = axes[modes.index(run.mode)][prompts.index(run.prompt)]
        cell.imshow(picture(run.png).numpy(), interpolation="nearest")
        cell.set(xticks=[], yticks=[])
        for side in cell.spines.values():
            side.set(color=RIGHT if run.right else WRONG, linewidth=3)
        cell.set_xlabel(f"{run.winner['scores'][0]:.2f}", fontsize=8, labelpad=2)
    for cell, prompt in zip(axes[0], prompts):
        cell.set_title("\n".join(textwrap.wrap(prompt, 22)), fontsize=8)
    for row, mode in zip(axes, modes):
        nfe = {run.nfe for run in runs if run.mode == mode}
        row[0].set_ylabel(f"{mode}\n{max(nfe)} NFE", fontsize=9)
    figure.suptitle(
        "Same prompt, same seed. Frame: an independent judge finds everything right (green) or not (red). Below: the verifier's score.",
        fontsize=9,
    )
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    figure.savefig(path, dpi=130)
    plt.close(figure)


def score_plot(runs: list, worlds: list[str], modes: tuple[str, ...], path: Path) -> None:
    """Mean over the prompts of the best score so far, against NFE."""
    figure, axes = plt.subplots(1, len(worlds), figsize=(5 * len(worlds), 3.4), squeeze=False)
    for cell, world in zip(axes[0], worlds):
        for mode in modes:
            curves = [best_so_far(run.candidates) for run in runs if (run.world, run.mode) == (world, mode)]
            mean = [
                sum(scores) / len(scores)
                for scores in zip(*([score for _, score in curve] for curve in curves))
            ]
            cell.plot([nfe for nfe, _ in curves[0]][: len(mean)], mean, marker=".", label=mode)
        cell.set(title=world, xlabel="NFE (network evaluations)", ylabel="best score so far")
        cell.grid(alpha=0.3)
        cell.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def best_so_far(candidates: list[dict]) -> list[tuple[int, float]]:
    """(NFE spent, best score) after each candidate, in the order they ran."""
    spent, best, curve = 0, float("-inf"), []
    for candidate in candidates:
        spent += candidate["nfe"]
        best = max(best, candidate["scores"][0])
        curve.append((spent, best))
    return curve
