"""Networks of ComfyUI itself with random weights, small enough to sample in milliseconds: what people's patches are made for."""

import importlib

import comfy.cldm.cldm
import comfy.controlnet
import comfy.latent_formats
import comfy.model_base
import comfy.model_patcher
import comfy.ops
import comfy.supported_models
import torch
from comfy.ldm.flux.model import FluxParams

CPU = torch.device("cpu")
UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 2, 2],
    "transformer_depth": [1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 0, 0, 0, 0],
    "use_spatial_transformer": True,
    "context_dim": 16,
    "num_heads": 2,
    "num_head_channels": -1,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "legacy": False,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
}
FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 16,
    "context_in_dim": 16,
    "hidden_size": 48,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 2,
    "depth_single_blocks": 2,
    "axes_dim": [4, 10, 10],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": False,
}
if "txt_ids_dims" in FluxParams.__dataclass_fields__:  # later versions of ComfyUI
    FLUX["txt_ids_dims"] = []


def unet(dtype=torch.float32):
    """A small Stable Diffusion 1.5: latents [B, 4, 16, 16]."""
    return _patcher(comfy.model_base.BaseModel, comfy.supported_models.SD15({**UNET, "dtype": dtype}))


def flux():
    """A small FLUX: latents [B, 16, 16, 16]."""
    return _patcher(comfy.model_base.Flux, comfy.supported_models.Flux({**FLUX, "dtype": torch.float32}))


def _patcher(kind, config):
    model = kind(config, device=CPU)
    _fill(model.diffusion_model)
    return comfy.model_patcher.ModelPatcher(model, CPU, CPU)


def _fill(network, seed=0):
    """Weights under which every layer counts, those too that begin at zero before training."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        values = torch.randn(weight.shape, generator=generator)
        values *= (0.7 / weight[0].numel() ** 0.5) if weight.ndim > 1 else 0.05
        scales = weight.ndim == 1 and name.endswith((".weight", ".scale"))
        weight.data.copy_(values + 1.0 if scales else values)


def control_net():
    """A ControlNet for `unet`, with a picture to go by: what `control` of a conditioning holds."""
    settings = {
        key: value for key, value in UNET.items() if key not in ("out_channels", "transformer_depth_output")
    }
    network = comfy.cldm.cldm.ControlNet(
        **settings, hint_channels=3, dtype=torch.float32, device=CPU, operations=comfy.ops.disable_weight_init
    )
    _fill(network, seed=1)
    picture = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    control = comfy.controlnet.ControlNet(network, load_device=CPU)
    return control.set_cond_hint(picture, 0.8, (0.0, 0.9))


def prompt(seed, width=16, **extras):
    """CONDITIONING with random numbers."""
    generator = torch.Generator().manual_seed(seed)
    tokens, pooled = torch.randn(1, 6, width, generator=generator), torch.randn(1, width, generator=generator)
    return [[tokens, {"pooled_output": pooled, **extras}]]


def node(module, name, **inputs):
    """The outputs of a stock node by its id, or None where this ComfyUI has no such node. module: in `comfy_extras`, without `nodes_`."""
    try:
        found = importlib.import_module(f"comfy_extras.nodes_{module}")
    except ImportError:
        return None
    kinds = getattr(found, "NODE_CLASS_MAPPINGS", {})
    newer = [
        kind
        for kind in vars(found).values()
        if hasattr(kind, "define_schema") and kind.__module__ == found.__name__
    ]
    kind = kinds.get(name) or next((kind for kind in newer if kind.define_schema().node_id == name), None)
    if kind is None:
        return None
    if hasattr(kind, "define_schema"):
        defaults = {one.id: one.default for one in kind.define_schema().inputs if hasattr(one, "default")}
        output = kind.execute(**{**defaults, **inputs})
        return tuple(getattr(output, "result", output))
    return getattr(kind(), kind.FUNCTION)(**inputs)
