"""Whatever stock nodes attach to a model: every candidate comes out as it would alone, and what is free costs nothing."""

from dataclasses import dataclass, field

import comfy.lora
import comfy.sample
import comfy.samplers
import comfyui_version
import pytest
import tiny_models as tiny
import torch
from bootstrap import COMFYUI_VERSION
from graphs import evaluated
from noisesearch.demo.load import load_world
from noisesearch.sampling.evaluator import Evaluator
from noisesearch.sampling.ledger import Ledger
from noisesearch.sampling.levels import Levels
from noisesearch.sampling.schedule import Schedule
from noisesearch.sampling.setup import Looks, Setup
from noisesearch.sampling.slicing import samples_of
from noisesearch.sampling.solvers import Solver
from noisesearch.search.algorithms.base import fresh

TOGETHER, GUIDANCE, ALONE = "together", "guidance row by row", "row by row"
SEED, CANDIDATES, ROWS = 11, 5, 4


@dataclass(frozen=True)
class Case:
    """A stock node on a tiny model. rung: how its candidates run in the end, "" where versions differ. free: whether finding that out takes no evaluations."""

    module: str
    name: str
    rung: str = TOGETHER
    on: str = "unet"
    free: bool = False
    steps: int = 4
    inputs: dict = field(default_factory=dict)
    label: str = ""

    def __str__(self):
        return self.label or self.name


CACHE = {"reuse_threshold": 0.2, "start_percent": 0.15, "end_percent": 0.95, "verbose": False}
CASES = [
    # section A of the issue
    Case("perpneg", "PerpNegGuider", ALONE, on="digits", inputs={"cfg": 5.0, "neg_scale": 1.0}),
    Case("mahiro", "Mahiro", GUIDANCE, on="digits", steps=20),
    Case("easycache", "LazyCache", ALONE, on="digits", free=True, steps=20, inputs=CACHE),
    Case("easycache", "EasyCache", ALONE, on="flux", free=True, steps=20, inputs=CACHE),
    Case("tomesd", "TomePatchModel", ALONE, free=True, inputs={"ratio": 0.5}),
    Case(
        "hypertile",
        "HyperTile",
        ALONE,
        free=True,
        inputs={"tile_size": 32, "swap_size": 4, "max_depth": 0, "scale_depth": False},
    ),
    Case("lumina2", "RenormCFG", GUIDANCE, on="digits", inputs={"cfg_trunc": 100.0, "renorm_cfg": 1.0}),
    Case("eps", "TemporalScoreRescaling", GUIDANCE, on="digits", inputs={"tsr_k": 0.95, "tsr_sigma": 1.0}),
    # others that touch guidance
    Case("perpneg", "PerpNeg", GUIDANCE, inputs={"neg_scale": 1.0}),
    Case("video_model", "VideoLinearCFGGuidance", GUIDANCE, inputs={"min_cfg": 1.0}),
    Case("video_model", "VideoTriangleCFGGuidance", GUIDANCE, inputs={"min_cfg": 1.0}),
    Case(
        "slg",
        "SkipLayerGuidanceDiT",
        GUIDANCE,
        on="flux",
        inputs={
            "double_layers": "0",
            "single_layers": "1",
            "scale": 3.0,
            "start_percent": 0.0,
            "end_percent": 0.9,
            "rescaling_scale": 0.5,
        },
    ),
    Case("apg", "APG", inputs={"eta": 0.5, "norm_threshold": 5.0, "momentum": -0.5}),
    Case("cfg", "CFGZeroStar"),
    Case("cfg", "CFGNorm", inputs={"strength": 1.0}),
    Case("tcfg", "TCFG"),
    Case("fresca", "FreSca", inputs={"scale_low": 1.0, "scale_high": 1.25, "freq_cutoff": 2}),
    Case("eps", "Epsilon Scaling", inputs={"scaling_factor": 1.05}),
    Case("model_advanced", "RescaleCFG", inputs={"multiplier": 0.7}),
    Case(
        "custom_sampler",
        "DualCFGGuider",
        inputs={"cfg_conds": 3.0, "cfg_cond2_negative": 2.0, "style": "nested"},
    ),
    Case(
        "latent",
        "LatentApplyOperationCFG",
        label="tonemap",
        inputs={"operation": ("LatentOperationTonemapReinhard", {"multiplier": 1.0})},
    ),
    Case(
        "latent",
        "LatentApplyOperationCFG",
        label="sharpen",
        inputs={"operation": ("LatentOperationSharpen", {"sharpen_radius": 3, "sigma": 1.0, "alpha": 0.1})},
    ),
    Case("sag", "SelfAttentionGuidance", inputs={"scale": 0.5, "blur_sigma": 2.0}),
    Case("pag", "PerturbedAttentionGuidance", inputs={"scale": 3.0}),
    Case(
        "slg",
        "SkipLayerGuidanceDiTSimple",
        on="flux",
        inputs={"double_layers": "0", "single_layers": "1", "start_percent": 0.0, "end_percent": 1.0},
    ),
    Case(
        "sd3",
        "SkipLayerGuidanceSD3",
        on="digits",
        inputs={"layers": "1", "scale": 3.0, "start_percent": 0.01, "end_percent": 0.9},
    ),
    # others that touch the network or its surroundings
    Case("freelunch", "FreeU", inputs={"b1": 1.1, "b2": 1.2, "s1": 0.9, "s2": 0.2}),
    Case("freelunch", "FreeU_V2", inputs={"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2}),
    Case(
        "model_downscale",
        "PatchModelAddDownscale",
        inputs={
            "block_number": 1,
            "downscale_factor": 2.0,
            "start_percent": 0.0,
            "end_percent": 0.35,
            "downscale_after_skip": True,
            "downscale_method": "bicubic",
            "upscale_method": "bicubic",
        },
    ),
    Case("differential_diffusion", "DifferentialDiffusion", inputs={"strength": 1.0}),
    Case(
        "context_windows",
        "ContextWindowsManual",
        "",
        inputs={
            "context_length": 2,
            "context_overlap": 1,
            "context_schedule": "standard_static",
            "context_stride": 1,
            "closed_loop": False,
            "fuse_method": "pyramid",
            "dim": 0,
        },
    ),
    # free
    Case("custom_sampler", "CFGGuider", free=True, inputs={"cfg": 4.0}),
    Case("custom_sampler", "BasicGuider", free=True),
    Case("model_advanced", "ModelSamplingDiscrete", free=True, inputs={"sampling": "lcm", "zsnr": False}),
    Case(
        "model_advanced",
        "ModelSamplingContinuousEDM",
        free=True,
        inputs={"sampling": "edm", "sigma_max": 120.0, "sigma_min": 0.002},
    ),
    Case(
        "model_advanced",
        "ModelSamplingFlux",
        free=True,
        on="flux",
        inputs={"max_shift": 1.15, "base_shift": 0.5, "width": 1024, "height": 1024},
    ),
    Case("model_advanced", "ModelSamplingSD3", free=True, on="digits", inputs={"shift": 3.0}),
    Case("model_advanced", "ModelComputeDtype", free=True, inputs={"dtype": "fp32"}),
    Case(
        "rope",
        "ScaleROPE",
        free=True,
        on="flux",
        inputs={
            "scale_x": 1.1,
            "shift_x": 0.0,
            "scale_y": 1.0,
            "shift_y": 0.2,
            "scale_t": 1.0,
            "shift_t": 0.0,
        },
    ),
    Case(
        "attention_multiply",
        "UNetSelfAttentionMultiply",
        free=True,
        inputs={"q": 1.1, "k": 1.0, "v": 1.0, "out": 0.9},
    ),
    Case(
        "attention_multiply",
        "UNetCrossAttentionMultiply",
        free=True,
        inputs={"q": 1.1, "k": 1.0, "v": 1.0, "out": 0.9},
    ),
    Case("nop", "wanBlockSwap", free=True),
    Case("", "LoRA", free=True),
    Case("", "ControlNet", free=True),
]


class Setting:
    """A tiny model with prompts, an empty latent and the schedule of one case."""

    def __init__(self, case):
        self.case = case
        if case.on == "digits":
            self.model, clip, _ = load_world("digits")
            texts = ("digit seven", "digit two", "")
            self.prompts = [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in texts]
            self.latent = torch.zeros(1, 16, 8, 8)
        else:
            self.model = tiny.unet() if case.on == "unet" else tiny.flux()
            self.prompts = [tiny.prompt(seed) for seed in (1, 2, 3)]
            self.latent = torch.zeros(1, 4 if case.on == "unet" else 16, 16, 16)
        self.mask = None
        if case.name == "DifferentialDiffusion":
            self.latent = torch.randn(self.latent.shape, generator=torch.Generator().manual_seed(5))
            self.mask = torch.linspace(0, 1, 128).expand(1, 128, 128)
        if case.name == "ControlNet":
            self.prompts[0] = tiny.prompt(1, control=tiny.control_net(), control_apply_to_uncond=True)

    def guider(self):
        """As the graph makes it, with everything that the case attaches; None where this ComfyUI has no such node."""
        case, model = self.case, self.model
        positive, negative, empty = self.prompts
        inputs = {**case.inputs}
        if "operation" in inputs:
            name, settings = inputs["operation"]
            operation = tiny.node("latent", name, **settings)
            if operation is None:
                return None
            inputs["operation"] = operation[0]
        if case.name == "PerpNeg":
            inputs["empty_conditioning"] = empty
        roles = {
            "CFGGuider": {"positive": positive, "negative": negative},
            "BasicGuider": {"conditioning": positive},
            "DualCFGGuider": {"cond1": positive, "cond2": empty, "negative": negative},
            "PerpNegGuider": {"positive": positive, "negative": negative, "empty_conditioning": empty},
        }
        if case.name in roles:
            made = tiny.node(case.module, case.name, model=model, **roles[case.name], **inputs)
            return made and made[0]
        if case.name == "LoRA":
            model = _with_lora(model)
        elif case.module:
            made = tiny.node(case.module, case.name, model=model, **inputs)
            if made is None:
                return None
            model = made[0]
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(4.0)
        return guider

    def sigmas(self, model):
        return comfy.samplers.calculate_sigmas(
            model.get_model_object("model_sampling"), "simple", self.case.steps
        )

    def stock(self, seed, sampler="euler"):
        """What the stock sampler gives for this seed alone."""
        guider = self.guider()
        return guider.sample(
            comfy.sample.prepare_noise(self.latent, seed),
            self.latent,
            comfy.samplers.sampler_object(sampler),
            self.sigmas(guider.model_patcher),
            denoise_mask=self.mask,
            disable_pbar=True,
            seed=seed,
        )

    def evaluator(self, guider, rows=ROWS, sampler="euler"):
        model = guider.model_patcher
        schedule = Schedule(self.sigmas(model), Levels(model.get_model_object("model_sampling")))
        latent = {"samples": self.latent, **({} if self.mask is None else {"noise_mask": self.mask})}
        solver = Solver(comfy.samplers.sampler_object(sampler))
        setup = Setup(guider, solver, schedule, samples_of(latent, model)[0])
        return Evaluator(setup, Ledger(), Looks(), rows)


def _with_lora(model):
    """Low-rank changes of every attention's query, as a LoRA file brings them."""
    generator = torch.Generator().manual_seed(4)
    weights = model.model.state_dict()
    lora, keys = {}, {}
    for name in [name for name in weights if name.endswith("to_q.weight")]:
        rows, columns = weights[name].shape
        plain = name.removesuffix(".weight")
        lora[f"{plain}.lora_up.weight"] = 0.2 * torch.randn(rows, 2, generator=generator)
        lora[f"{plain}.lora_down.weight"] = torch.randn(2, columns, generator=generator)
        keys[plain] = name
    patched = model.clone()
    assert patched.add_patches(comfy.lora.load_lora(lora, keys), 1.0)
    return patched


@pytest.mark.parametrize("case", CASES, ids=str)
@torch.inference_mode()
def test_candidates_equal_lone_runs(case):
    setting = Setting(case)
    guider = setting.guider()
    if guider is None:
        pytest.skip("this ComfyUI has no such node")
    evaluator = setting.evaluator(guider)
    outcomes = evaluated(evaluator, [fresh(SEED + i) for i in range(CANDIDATES)])
    for i in range(CANDIDATES):
        alone = setting.stock(SEED + i)
        off, spread = float((evaluator.shelf[i].latent - alone).abs().max()), float(alone.std())
        assert off <= 1e-4 * max(spread, 1.0), f"candidate {i} is {off:.2g} off (spread {spread:.2g})"
        assert outcomes[i].nfe < case.steps if case.inputs is CACHE else outcomes[i].nfe == case.steps
    assert evaluator.ledger.nfe == sum(outcome.nfe for outcome in outcomes)
    if not case.rung:
        return
    assert evaluator.coupling.rung == case.rung, evaluator.coupling.why
    assert (evaluator.ledger.check_nfe == 0) == case.free, evaluator.coupling.why
    if case.rung == TOGETHER and not case.free:
        assert evaluator.ledger.check_nfe == case.steps  # the ghost


LEFT_OUT = {
    "ModelMerge": "merges weights, as LoRAs do",
    "ModelSamplingContinuousV": "a noise schedule, as those above",
    "ModelSamplingAuraFlow": "a noise schedule, as those above",
    "ModelSamplingLTXV": "a noise schedule, as those above",
    "ModelSamplingStableCascade": "a noise schedule, as those above",
    "UNetTemporalAttentionMultiply": "weights, of video models",
    "ChromaRadianceOptions": "for one network, too large for a test",
    "QwenImageDiffsynthControlnet": "needs a file of weights",
    "USOStyleReference": "needs a file of weights",
    "HypernetworkLoader": "needs a file of weights",
    "Lora": "weights, tried above",
    "TrainLoraNode": "trains",
    "TorchCompileModel": "needs a compiler; ComfyUI's own wrapper, see test_proof.py",
    "WanContextWindowsManual": "context windows of videos, see test_schedule_seen.py",
}


def test_every_stock_node_that_patches_a_model_is_in_the_table(object_info):
    if comfyui_version.__version__ != COMFYUI_VERSION:
        pytest.skip("the table is for the ComfyUI that the pack is tested with")

    def takes_and_gives(info):
        taken = [
            kind[0] for group in info["input"].values() if isinstance(group, dict) for kind in group.values()
        ]
        return "MODEL" in taken and {"MODEL", "GUIDER"} & set(info["output"])

    patching = {
        name
        for name, info in object_info.items()
        if info["python_module"].startswith(("nodes", "comfy_extras")) and takes_and_gives(info)
    }
    covered = {case.name for case in CASES}
    assert len(patching) > 60
    assert {name for name in patching - covered if not name.startswith(tuple(LEFT_OUT))} == set()
