"""Our own cost at true size: SDXL and FLUX in half precision at 1024 x 1024, with judges of true size, all of random weights.

    python benchmarks/gpu.py                  on a GPU of 16 GB (SDXL) or 32 GB (FLUX) and more; under 8 minutes
    python benchmarks/gpu.py --models SDXL    one of them
    python benchmarks/gpu.py --cpu            shrunk to a minute on the CPU: whether it runs, not how fast

Needs the extra `clip` (open_clip) for the judge's layout, and 4 GB of disk for a moment. NOISESEARCH_COMFYUI names the ComfyUI.
It has come to its end on an H200 (SDXL) once, beside other work, so the pack's documentation quotes no figure of it.

The table: seconds per candidate of bare batched sampling and of our search over the same candidates in the same batches, interleaved;
decodes and verdicts apart; and how often the host waits for the device in one evaluation of the solver's loop, by torch's profiler.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("SDXL", "FLUX")
# host and device meet: a number is read back, or the host waits
MEETINGS = (
    "aten::_local_scalar_dense",
    "cudaStreamSynchronize",
    "cudaDeviceSynchronize",
    "cudaEventSynchronize",
)
LOOP = "solver loop"
TINY = {
    "SDXL": {
        "model_channels": 32,
        "num_head_channels": 16,
        "transformer_depth": [0, 0, 1, 1, 1, 1],
        "transformer_depth_middle": 1,
        "transformer_depth_output": [0, 0, 0, 1, 1, 1, 1, 1, 1],
    },
    "FLUX": {"hidden_size": 256, "num_heads": 2, "depth": 1, "depth_single_blocks": 1},
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu", action="store_true", help="shrunk, on the CPU")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def begin(on_cpu):
    """ComfyUI on the path, on the device wanted, before anything of it is imported."""
    sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests"), str(ROOT / "benchmarks")]
    from pack import use_comfyui

    use_comfyui(os.environ.get("NOISESEARCH_COMFYUI", ROOT / ".comfyui" / "ComfyUI"))
    from comfy.cli_args import args

    args.cpu = on_cpu


def random_weights(module):
    """Small numbers where layers multiply, ones where they normalise: finite in half precision, however deep."""
    import torch

    for name, parameter in module.named_parameters():
        with torch.no_grad():
            if parameter.ndim > 1:
                parameter.normal_(std=0.5 / parameter[0].numel() ** 0.5)
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)


def meetings_in(what, run, device):
    """How often host and device meet within the part of run() that is recorded as `what`."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities) as profiled:
        run()
    events = [event for event in profiled.events() if event.device_type.name == "CPU"]  # the host's
    (part,) = (event.time_range for event in events if event.name == what)
    return sum(
        event.name in MEETINGS and part.start <= event.time_range.start <= part.end for event in events
    )


class Case:
    """One model with all that a search of it takes."""

    def __init__(self, name, tiny, steps, folder):
        import comfy.model_management as mm
        import comfy.model_patcher
        import comfy.samplers
        import layouts
        import torch

        self.name, self.device = name, mm.get_torch_device()
        half = torch.float32 if tiny else torch.bfloat16 if name == "FLUX" else torch.float16
        base = layouts.base_model(name, half, self.device, **(TINY[name] if tiny else {}))
        random_weights(base.diffusion_model)
        self.model = comfy.model_patcher.ModelPatcher(base, self.device, mm.unet_offload_device())
        channels, words, pooled = {"SDXL": (4, 2048, 1280), "FLUX": (16, 4096, 768)}[name]
        side = 8 if tiny else 128
        self.latent = torch.zeros(1, channels, side, side)
        self.guider = comfy.samplers.CFGGuider(self.model)
        conds = [[[torch.randn(1, 77, words), {"pooled_output": torch.randn(1, pooled)}]] for _ in range(2)]
        self.guider.set_conds(*conds)
        self.guider.set_cfg(5.0 if name == "SDXL" else 1.0)
        self.sampler = comfy.samplers.sampler_object("euler")
        self.sigmas = comfy.samplers.KSampler(
            self.model, steps, self.device, "euler", "simple", 1.0, self.model.model_options
        ).sigmas
        self.vae = ShrunkVAE() if tiny else vae(channels)
        self.verifier = judge(tiny, folder)

    def bare(self, seed, candidates, rows):
        """(seconds of sampling, of decodes, of verdicts), with stock calls only."""
        import comfy.sample
        import torch

        from noisesearch.verifiers.base import Batch

        spent = [0.0, 0.0, 0.0]
        for first in range(0, candidates, rows):
            noise = torch.cat(
                [
                    comfy.sample.prepare_noise(self.latent, seed + first + i)
                    for i in range(min(rows, candidates - first))
                ]
            )
            latent = self.latent.repeat(len(noise), 1, 1, 1)
            times = [self.now()]
            samples = self.guider.sample(
                noise, latent, self.sampler, self.sigmas, seed=seed, disable_pbar=True
            )
            times.append(self.now())
            images = self.vae.decode(samples)
            times.append(self.now())
            self.verifier.score(Batch(images, "a lighthouse at dusk"))
            times.append(self.now())
            spent = [so_far + end - start for so_far, start, end in zip(spent, times, times[1:])]
        return tuple(spent)

    def ours(self, seed, candidates, rows):
        """(seconds besides decodes and verdicts, of decodes, of verdicts), of a search over the same candidates."""
        from noisesearch.search.algorithms import RandomSearch
        from noisesearch.session.run import Wishes, search_images

        began = self.now()
        found = search_images(
            self.guider,
            self.sampler,
            self.sigmas,
            {"samples": self.latent},
            seed,
            RandomSearch(),
            self.verifier,
            self.vae,
            "a lighthouse at dusk",
            Wishes(candidates=candidates, batch_size=rows, keep_top=1, exact=False),
        )
        spent = self.now() - began
        totals = found.report["totals"]
        assert totals["nfe"] == candidates * (len(self.sigmas) - 1)
        apart = totals["seconds"]["decoding"], totals["seconds"]["verifying"]
        return spent - sum(apart), *apart

    def meetings(self, rows, ours):
        """How often host and device meet in one evaluation of the solver's loop: of stock, or of ours."""
        import comfy.sample
        import torch
        from comfy.samplers import KSAMPLER

        from noisesearch.sampling.evaluator import Evaluator
        from noisesearch.sampling.ledger import Ledger
        from noisesearch.sampling.levels import Levels
        from noisesearch.sampling.schedule import Schedule
        from noisesearch.sampling.setup import Looks, Setup
        from noisesearch.sampling.slicing import guider_of, samples_of
        from noisesearch.sampling.solvers import Solver
        from noisesearch.search.algorithms.base import fresh

        @functools.wraps(self.sampler.sampler_function)  # by its name it is known to run in batches
        def in_the_loop(*args, **kwargs):
            with torch.profiler.record_function(LOOP):
                return self.sampler.sampler_function(*args, **kwargs)

        sampler = KSAMPLER(in_the_loop)
        noise = torch.cat([comfy.sample.prepare_noise(self.latent, seed) for seed in range(rows)])
        latent = self.latent.repeat(rows, 1, 1, 1)
        if ours:
            levels = Levels(self.model.get_model_object("model_sampling"))
            sample = samples_of({"samples": self.latent}, self.model)[0]
            setup = Setup(guider_of(self.guider, 0), Solver(sampler), Schedule(self.sigmas, levels), sample)
            evaluator = Evaluator(setup, Ledger(), Looks(), rows)
            evaluator.cost(fresh(0), None)  # its dry run is no part of the loop

        def run():
            if ours:
                return list(evaluator.evaluate([(seed, fresh(seed)) for seed in range(rows)]))
            # a callback, as the stock node has one
            return self.guider.sample(
                noise, latent, sampler, self.sigmas, callback=lambda *step: None, seed=0, disable_pbar=True
            )

        return meetings_in(LOOP, run, self.device) / (len(self.sigmas) - 1)

    def now(self):
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.monotonic()


class ShrunkVAE:
    """Eight pixels for each place of the latent."""

    def decode(self, samples):
        return samples[:, :3].sigmoid().repeat_interleave(8, 2).repeat_interleave(8, 3).movedim(1, -1)


def vae(channels):
    """SDXL's or FLUX's autoencoder, of its true size."""
    import comfy.sd
    from comfy.ldm.models.autoencoder import AutoencoderKL

    layout = {
        "double_z": True,
        "z_channels": channels,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 128,
    }
    layout |= {"ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0}
    network = AutoencoderKL(ddconfig=layout, embed_dim=channels)
    random_weights(network)
    return comfy.sd.VAE(sd=network.state_dict())


def judge(tiny, folder):
    """PickScore's ViT-H/14; the demo's small CLIP when shrunk."""
    from noisesearch.verifiers.catalogue import load_verifier

    if tiny:
        import noisesearch.demo.load  # noqa: F401  (which knows where its files are)

        return load_verifier("CLIPScore", "scenes-clip")
    from _true_judges import loaded

    return loaded("PickScore", folder)[0]


def measured(case, options):
    from noisesearch.sampling.batches import rows_that_fit

    rows = 2 if options.cpu else rows_that_fit(case.guider, case.latent.shape)
    candidates = 2 * rows if rows < 8 else 16
    case.bare(0, rows, rows), case.ours(0, candidates, rows)  # what is loaded and chosen once
    pairs = [
        (case.bare(100 * i, candidates, rows), case.ours(100 * i, candidates, rows))
        for i in range(options.repeats)
    ]
    bare, ours, decode, verdict = (
        statistics.median(pair[side][part] for pair in pairs) / candidates
        for side, part in ((0, 0), (1, 0), (1, 1), (1, 2))
    )
    ratio = statistics.median(ours[0] / bare[0] for bare, ours in pairs)
    meetings = [case.meetings(rows, ours) for ours in (False, True)]
    weights = case.model.model_size() / 2**30
    print(
        f"| {case.name} | {weights:.1f} | {rows} | {bare:.3f} | {ours:.3f} | {ratio:.3f} | {decode:.3f} | {verdict:.3f} | "
        f"{meetings[0]:.2f} | {meetings[1]:.2f} |",
        flush=True,
    )
    return meetings


def main():
    options = arguments()
    began = time.monotonic()
    begin(options.cpu)
    import comfy.model_management as mm
    import torch

    device = mm.get_torch_device()
    if not options.cpu and device.type != "cuda":
        sys.exit("No GPU was found. --cpu runs a shrunk form on the CPU.")
    name = "the CPU, shrunk" if options.cpu else torch.cuda.get_device_name(device)
    pixels = 64 if options.cpu else 1024
    print(
        f"\n### Random weights at {pixels} x {pixels}, {options.steps} steps of euler, on {name}: seconds per candidate\n"
    )
    print(
        "| layout | GiB of weights | at once | bare sampling | our search | ratio | decode, apart | verdict, apart | "
        "waits per evaluation, stock | ours |\n|---|" + "---:|" * 9
    )
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        meetings = []
        for model in options.models:
            case = Case(model, options.cpu, options.steps, Path(folder))
            meetings.append(measured(case, options))
            del case
            mm.unload_all_models()
    print(f"\n{time.monotonic() - began:.0f} s in all")
    if any(ours > stock for stock, ours in meetings):
        sys.exit("Our solver loop waits for the device more often than the stock one.")


if __name__ == "__main__":
    main()
