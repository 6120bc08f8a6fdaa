"""The search that chooses the search."""

from __future__ import annotations

from comfy_api.latest import io

from ..compat import schema
from ..search.algorithms import Auto
from .sockets import ALIASES, CATEGORY, SearchType


class NoiseSearchAuto(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchAuto",
            display_name="Search: Auto",
            category=f"{CATEGORY}/searches",
            search_aliases=ALIASES,
            description="Takes the search, and the steps of its drafts, that suit your budget, your sampler and what earlier searches have shown. The report says what it took, and why.",
            inputs=[],
            outputs=[SearchType.Output(display_name="search")],
        )

    @classmethod
    def execute(cls):
        return io.NodeOutput(Auto())


NODES = [NoiseSearchAuto]
