"""Sockets and widgets that several verifier nodes have."""

from comfy_api.latest import io

from ..compat import advanced
from ..verifiers.base import OVER_FRAMES, ImageVerifier
from ..verifiers.catalogue import architectures
from ..verifiers.files import AUTO
from ..verifiers.networks.managed import DEVICES

FeaturesType = io.Custom("NOISE_SEARCH_FEATURES")
StatisticsType = io.Custom("NOISE_SEARCH_STATISTICS")


def device_input():
    tooltip = "auto: the GPU, unless memory is short. cpu: slower, but leaves the GPU to the diffusion model."
    return io.Combo.Input("device", options=list(DEVICES), default=DEVICES[0], tooltip=tooltip)


def architecture_input():
    tooltip = "For CLIP files: which CLIP it is. auto: read from the file's name, or from the folder's open_clip_config.json."
    return advanced(
        io.Combo.Input("architecture", options=architectures(), default=AUTO, optional=True, tooltip=tooltip)
    )


def frames_inputs():
    """How videos are judged; the last inputs of the verifiers that look at images."""
    return [
        advanced(
            io.Int.Input(
                "frames",
                optional=True,
                default=ImageVerifier.frames,
                min=1,
                max=256,
                tooltip="Videos: how many frames are judged, evenly spread over the clip.",
            )
        ),
        advanced(
            io.Combo.Input(
                "over_frames",
                optional=True,
                options=list(OVER_FRAMES),
                default=ImageVerifier.over_frames,
                tooltip="Videos: the score is the mean over the frames, or the score of the worst frame.",
            )
        ),
    ]
