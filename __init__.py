"""NoiseSearch: inference-time search over noises for ComfyUI (Ma et al. 2025, arXiv 2501.09732)."""

from importlib.util import find_spec

WEB_DIRECTORY = "./web"

if (
    find_spec("comfy_api") is not None
):  # outside ComfyUI (tools, tests of the pure rooms) there is nothing to register
    from comfy_api.latest import ComfyExtension

    class NoiseSearchExtension(ComfyExtension):
        async def get_node_list(self):
            from .nodes import NODES
            from .session.routes import register

            register()
            return list(NODES)

    async def comfy_entrypoint() -> NoiseSearchExtension:
        return NoiseSearchExtension()
