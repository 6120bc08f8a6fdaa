"""A network under ComfyUI's memory management, run in chunks that fit."""
import comfy.model_management as mm
import torch
from comfy.model_patcher import ModelPatcher

from ..compat import is_out_of_memory

CHUNK = 16  # rows that run at once when memory allows


class ScorerNetwork(torch.nn.Module):
    """What ComfyUI's log names. ModelPatcher writes attributes on its model, such as `device`, which some networks define as read-only."""

    def __init__(self, network):
        super().__init__()
        self.network = network


class ManagedModel:
    """`network` where ComfyUI can see it: loaded before use, moved out when something else needs the room.

    device: "auto" follows ComfyUI's rule for text encoders (the GPU unless memory is short), "cpu" stays on the CPU.
    half: run in float16 where the device does that well. Only for networks whose ranking survives it; float32 otherwise.
    row_bytes: working memory of one input row, so that ComfyUI makes room before it runs.
    """

    def __init__(self, network, device="auto", half=False, row_bytes=64 * 2**20):
        load_device = torch.device("cpu") if device == "cpu" else mm.text_encoder_device()
        offload_device = torch.device("cpu") if device == "cpu" else mm.text_encoder_offload_device()
        self.dtype = torch.float16 if half and mm.should_use_fp16(load_device) else torch.float32
        self.row_bytes = row_bytes
        network = network.train(False).requires_grad_(False).to(offload_device, self.dtype)
        self.patcher = ModelPatcher(ScorerNetwork(network), load_device, offload_device)

    @property
    def network(self):
        return self.patcher.model.network

    def run(self, function, rows):
        """function(network, chunk) for every chunk of `rows` ([B, ...]), as one float32 tensor [B, ...] on the CPU.

        Floating-point rows arrive in the network's dtype. When memory runs out the chunk is halved, down to one row.
        """
        size, start, results = min(CHUNK, len(rows)), 0, []
        while start < len(rows):
            # Plain layers cannot run half offloaded, hence force_full_load.
            mm.load_models_gpu([self.patcher], memory_required=size * self.row_bytes, force_full_load=True)
            chunk = self._attempt(function, rows[start:start + size], last_try=size == 1)
            if chunk is None:
                mm.soft_empty_cache()
                size = (size + 1) // 2
            else:
                results.append(chunk)
                start += size
        return torch.cat(results)

    def _attempt(self, function, chunk, last_try):
        """The result of one chunk, or None when memory ran out (in a frame of its own, so that its tensors are gone afterwards)."""
        chunk = chunk.to(self.patcher.load_device, self.dtype if chunk.is_floating_point() else chunk.dtype)
        try:
            with torch.no_grad():
                return function(self.network, chunk).to("cpu", torch.float32)
        except Exception as error:
            if last_try or not is_out_of_memory(error):
                raise
            return None
