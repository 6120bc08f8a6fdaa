"""Sockets and widgets that several verifier nodes have."""
from comfy_api.latest import io

from ..compat import advanced
from ..verifiers.catalogue import AUTO, architectures

FeaturesType = io.Custom("NOISE_SEARCH_FEATURES")
StatisticsType = io.Custom("NOISE_SEARCH_STATISTICS")


def device_input():
    tooltip = "auto: the GPU unless memory is short. cpu: leaves the GPU to the diffusion model; slower."
    return io.Combo.Input("device", options=["auto", "cpu"], default="auto", tooltip=tooltip)


def architecture_input():
    tooltip = "For CLIP files: which CLIP it is. auto: read from the file's name, or from the folder's open_clip_config.json."
    return advanced(io.Combo.Input("architecture", options=architectures(), default=AUTO, optional=True, tooltip=tooltip))
