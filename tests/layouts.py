"""Published diffusion models by their layout: the real classes of ComfyUI with the real sizes, weights left out or random."""

import comfy.model_patcher
import comfy.supported_models as models
import torch
from comfy.ldm.flux.model import FluxParams

SDXL_UNET = {
    "use_checkpoint": False,
    "image_size": 32,
    "out_channels": 4,
    "use_spatial_transformer": True,
    "legacy": False,
    "num_classes": "sequential",
    "adm_in_channels": 2816,
    "in_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "channel_mult": [1, 2, 4],
    "transformer_depth_middle": 10,
    "use_linear_in_transformer": True,
    "context_dim": 2048,
    "num_head_channels": 64,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
}
SD15_UNET = {
    **SDXL_UNET,
    "num_classes": None,
    "adm_in_channels": None,
    "num_res_blocks": [2, 2, 2, 2],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth_middle": 1,
    "use_linear_in_transformer": False,
    "context_dim": 768,
    "num_heads": 8,
    "num_head_channels": -1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
}
SD35_LARGE = {
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "depth": 38,
    "input_size": None,
    "adm_in_channels": 2048,
    "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": 4096, "out_features": 2432},
    },
    "num_patches": 36864,
    "pos_embed_max_size": 192,
    "pos_embed_scaling_factor": None,
    "qk_norm": "rms",
}
FLUX_DEV = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "vec_in_dim": 768,
    "context_in_dim": 4096,
    "hidden_size": 3072,
    "mlp_ratio": 4.0,
    "num_heads": 24,
    "depth": 19,
    "depth_single_blocks": 38,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "qkv_bias": True,
    "guidance_embed": True,
}
if "txt_ids_dims" in FluxParams.__dataclass_fields__:  # newer ComfyUIs
    FLUX_DEV["txt_ids_dims"] = []
LAYOUTS = {
    "SD1.5": (models.SD15, SD15_UNET),
    "SDXL": (models.SDXL, SDXL_UNET),
    "SD3.5 Large": (models.SD3, SD35_LARGE),
    "FLUX": (models.Flux, FLUX_DEV),
}


def base_model(name, dtype, device="meta", **changes):
    """ComfyUI's model of that name. device="meta": without weights; else they are whatever memory holds. changes: to its layout."""
    kind, layout = LAYOUTS[name]
    config = kind({**layout, **changes})
    cast = None if dtype.itemsize > 1 else torch.bfloat16  # weights of 8 bits are computed with in 16
    config.set_inference_dtype(dtype, cast)
    return config.get_model({}, device=device)


def patcher(name, dtype, load_device, offload_device):
    """A MODEL of the true size, without weights."""
    return comfy.model_patcher.ModelPatcher(base_model(name, dtype), load_device, offload_device)
