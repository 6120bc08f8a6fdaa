"""A stock CLIP_VISION model as a source of image features."""
import torch

CHUNK = 16


class ClipVisionFeatures:
    """clip_vision: what ComfyUI's Load CLIP Vision gives. ComfyUI itself resizes, crops and manages memory."""

    def __init__(self, clip_vision):
        self.clip_vision = clip_vision

    def image_features(self, images):
        """[B, H, W, 3] in [0, 1] -> float32 [B, D] of length 1."""
        features = torch.cat([self.clip_vision.encode_image(chunk)["image_embeds"].float().cpu() for chunk in images.split(CHUNK)])
        return features / features.norm(dim=1, keepdim=True)
