"""The search that chooses the search."""

from __future__ import annotations

from comfy_api.latest import io

from ..compat import schema
from ..search.algorithms import Auto
from .names import METHODS
from .sockets import SearchType


class NoiseSearchAuto(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchAuto",
            display_name="Search: Auto",
            category=METHODS,
            search_aliases=["automatic search", "best search", "which search"],
            description="Chooses the search method, and the steps of its drafts, by your budget, your sampler and what earlier searches have shown. The report says what it chose and why.",
            inputs=[],
            outputs=[SearchType.Output(display_name="search")],
        )

    @classmethod
    def execute(cls):
        return io.NodeOutput(Auto())


NODES = [NoiseSearchAuto]
