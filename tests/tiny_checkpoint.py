"""A checkpoint of some megabytes that ComfyUI's Load Checkpoint takes for a Stable Diffusion 1.5: the layout that it knows one
by (320 channels, CLIP-L's text encoder), the fewest blocks, TAESD for a VAE, random weights."""

import comfy.sd1_clip
import comfy.supported_models
import comfy.taesd.taesd
import torch

UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [1],
    "channel_mult": [1],
    "transformer_depth": [1],
    "transformer_depth_middle": -1,
    "transformer_depth_output": [0, 0],
    "use_spatial_transformer": True,
    "context_dim": 768,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "legacy": False,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
    "dtype": torch.float32,
}
STEP = 7  # from one row of a weight to the next
DIM = 0.01  # what the VAE multiplies latents with: those of random weights are far too large
META = torch.device("meta")


def write(path):
    """A .ckpt, in which weights may share their numbers: those of the UNet and the text encoder are windows into one row of random ones."""
    unet = comfy.supported_models.SD15(dict(UNET)).get_model({}, device=META).diffusion_model
    clip = comfy.sd1_clip.SD1ClipModel(device=META, dtype=torch.float16).clip_l
    parts = {
        "model.diffusion_model.": unet,
        "cond_stage_model.": clip,
    }
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(400_000, generator=generator)
    scaled, state = {}, {}
    for prefix, network in parts.items():
        for name, weight in network.state_dict().items():
            if weight.ndim > 1:
                width = weight[0].numel()
                row = scaled.setdefault(width, (numbers * width**-0.5).half())
                strides = torch.empty(weight.shape[1:], device=META).stride()
                state[prefix + name] = row.as_strided(weight.shape, (STEP, *strides))
            elif weight.ndim == 1:  # a bias, or the scale of a normalisation
                state[prefix + name] = torch.full(weight.shape, float(name.endswith(".weight")))
    for name, weight in comfy.taesd.taesd.TAESD().state_dict().items():
        values = (
            torch.randn(weight.shape, generator=generator) if weight.ndim > 1 else torch.zeros_like(weight)
        )
        state["first_stage_model." + name] = values / max(1, weight[:1].numel() if weight.ndim else 1) ** 0.5
    state["first_stage_model.vae_scale"] = torch.tensor(DIM)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": state}, path)
