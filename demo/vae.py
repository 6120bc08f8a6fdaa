"""The demo codecs as ComfyUI's VAE: stock VAE Decode, VAE Encode and the inpainting nodes take it."""

import comfy.latent_formats
import comfy.model_management as mm
import torch

from ..verifiers.networks.managed import ManagedModel
from .codecs import CHANNELS, RATIO, codec_for


class DemoVAE:
    """Images [B, H, W, 3] in [0, 1] <-> latents [B, 16, H/8, W/8], with the methods and attributes of `comfy.sd.VAE` that nodes use.

    ComfyUI holds latents in Stable Diffusion 3's own scale and hands the generator `latent_format.process_in` of them.
    That is where the demo's unit-scale latents live, so the codec stands behind process_in and process_out.
    """

    latent_channels = CHANNELS
    latent_dim = 2
    output_channels = 3
    downscale_ratio = upscale_ratio = RATIO
    downscale_index_formula = upscale_index_formula = None
    crop_input = True
    not_video = False
    extra_1d_channel = None
    vae_dtype = torch.float32

    def __init__(self, state_dict):
        codec = codec_for(state_dict)
        codec.load_state_dict(state_dict)
        self._managed = ManagedModel(codec, row_bytes=2**21)
        self.first_stage_model, self.patcher = codec, self._managed.patcher
        self.device, self.output_device = self.patcher.load_device, mm.intermediate_device()
        self._format = comfy.latent_formats.SD3()

    def decode(self, samples, vae_options=None):
        """Latents [B, 16, h, w] -> float32 images [B, 8h, 8w, 3] in [0, 1]. ValueError for latents of another shape."""
        if samples.ndim != 4 or samples.shape[1] != CHANNELS:
            raise ValueError(
                f"The demo VAE decodes latents of shape [batch, {CHANNELS}, height, width], not {list(samples.shape)}. Use EmptySD3LatentImage for an empty latent."
            )
        images = self._managed.run(
            lambda codec, rows: codec.decode(rows), self._format.process_in(samples.float())
        )
        return images.clamp(0, 1).movedim(1, -1).to(self.output_device)

    def encode(self, pixels):
        """Images [B, H, W, 3 or more] -> float32 latents [B, 16, H/8, W/8]; a border that is no multiple of 8 is cut off evenly."""
        pixels = self.vae_encode_crop_pixels(pixels)[..., :3].movedim(-1, 1).float()
        return self._format.process_out(self._managed.run(lambda codec, rows: codec.encode(rows), pixels)).to(
            self.output_device
        )

    def decode_tiled(self, samples, **tiling):
        """As `decode`: the codecs are so small that tiles would only cost time."""
        return self.decode(samples)

    def encode_tiled(self, pixels, **tiling):
        """As `encode`."""
        return self.encode(pixels)

    @staticmethod
    def vae_encode_crop_pixels(pixels):
        """The middle of [B, H, W, C] whose sides are multiples of 8. ValueError for images smaller than that."""
        height, width = (side // RATIO * RATIO for side in pixels.shape[1:3])
        if not height or not width:
            raise ValueError(
                f"The demo VAE needs images of at least {RATIO}x{RATIO} pixels, not {pixels.shape[2]}x{pixels.shape[1]}."
            )
        top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
        return pixels[:, top : top + height, left : left + width]

    def throw_exception_if_invalid(self):
        """Never: a DemoVAE that exists is valid (stock nodes ask)."""

    def spacial_compression_encode(self):
        return RATIO

    def spacial_compression_decode(self):
        return RATIO

    def temporal_compression_decode(self):
        """None: these are pictures, not videos."""
        return None

    def model_size(self):
        return self.patcher.model_size()

    get_ram_usage = model_size

    def get_sd(self):
        return self.first_stage_model.state_dict()
