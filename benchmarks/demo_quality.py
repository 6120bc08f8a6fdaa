"""What the demo models draw, judged by classifiers that no search sees: one sample per held-out prompt, then the best of N.

    python benchmarks/demo_quality.py [--prompts 200] [--candidates 1 8 16] [--sheet output/demo_quality]

Everything runs through ComfyUI (.comfyui/ComfyUI) and the pack's own loader, with the recommended settings of demo/worlds.py.
"""

import argparse
import math
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from pack import use_comfyui  # noqa: E402

use_comfyui(ROOT / ".comfyui" / "ComfyUI")
import comfy.sample  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from noisesearch.demo.load import FOLDER, load_world  # noqa: E402
from noisesearch.demo.worlds import WORLDS, held_out_prompts  # noqa: E402
from noisesearch.demo.attributes import SceneAttributes  # noqa: E402
from noisesearch.verifiers.base import Batch  # noqa: E402
from noisesearch.demo.digits import DigitClassifier  # noqa: E402

VERIFIERS = {
    "digits": (DigitClassifier, "digits_classifier", "digits_judge"),
    "scenes": (SceneAttributes, "scenes_attributes", "scenes_judge"),
}
VERIFIERS["digits, two-step"] = VERIFIERS["digits"]


def draw(loaded, world, prompt, seeds):
    """Images [N, 64, 64, 3], each as a stock KSampler with that seed would draw it."""
    model, clip, vae = loaded
    settings = WORLDS[world]
    positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (prompt, ""))
    latent = torch.zeros(len(seeds), vae.latent_channels, settings.size // 8, settings.size // 8)
    noise = torch.cat([comfy.sample.prepare_noise(latent[:1], seed) for seed in seeds])
    samples = comfy.sample.sample(
        model,
        noise,
        settings.steps,
        settings.cfg,
        settings.sampler,
        settings.scheduler,
        positive,
        negative,
        latent,
        disable_pbar=True,
        seed=seeds[0],
    )
    return vae.decode(samples)


def interval(share, count):
    """Half the width of the 95 % interval of a share (normal approximation)."""
    return 1.96 * math.sqrt(share * (1 - share) / count)


def measure(world, prompts, candidates, sheet):
    kind, verifier_file, judge_file = VERIFIERS[world]
    verifier, judge = (
        kind(FOLDER / "verifiers" / f"{name}.safetensors") for name in (verifier_file, judge_file)
    )
    loaded, most, started = load_world(world), max(candidates), time.perf_counter()
    right, scores, pictures = {n: [] for n in candidates}, {n: [] for n in candidates}, []
    for number, prompt in enumerate(prompts):
        batch = Batch(draw(loaded, world, prompt, [number * most + i for i in range(most)]), prompt)
        score, correct = verifier.score(batch), judge.correct(batch)
        for n in candidates:
            best = score[:n].argmax()
            right[n].append(correct[best].item())
            scores[n].append(score[best].item())
        pictures.append((batch.images[0], batch.images[score.argmax()]))
    seconds = time.perf_counter() - started
    print(f"{world}: {len(prompts)} held-out prompts, {most} candidates each, {seconds:.0f} s")
    print(f"{'N':>4}  {'verifier':>9}  judge: all right")
    for n in candidates:
        share = sum(right[n]) / len(prompts)
        print(
            f"{n:>4}  {sum(scores[n]) / len(prompts):>9.3f}  {share:6.1%} +- {interval(share, len(prompts)):.1%}"
        )
    if sheet:
        sheet.mkdir(parents=True, exist_ok=True)
        for name, column in (("first", 0), ("best", 1)):
            save_sheet([pair[column] for pair in pictures[:60]], sheet / f"{world}_{name}.png")


def save_sheet(pictures, path, columns=10):
    rows = [
        torch.cat(pictures[i : i + columns], dim=1) for i in range(0, len(pictures) - columns + 1, columns)
    ]
    Image.fromarray((torch.cat(rows).numpy() * 255).round().astype("uint8")).save(path)
    print(f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", nargs="+", choices=list(WORLDS), default=list(WORLDS))
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument(
        "--sheet",
        type=Path,
        help="folder for contact sheets of the first and the best candidates (at least 10 prompts)",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)  # these models are too small to share
    with torch.inference_mode():
        for world in options.worlds:
            measure(world, held_out_prompts(world, options.prompts), options.candidates, options.sheet)
