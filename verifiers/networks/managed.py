"""A network under ComfyUI's memory management, run in chunks that fit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.model_management as mm
import torch
from comfy.model_patcher import ModelPatcher

from ...compat import is_out_of_memory
from ...untrusted import choice
from ..files import identity

DEVICES = ("auto", "cpu")
CHUNK = 16  # rows that run at once when memory allows


class ScorerNetwork(torch.nn.Module):
    """What ComfyUI's log names. ModelPatcher writes attributes on its model, such as `device`, which some networks define as read-only."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network


class ManagedModel:
    """`network` where ComfyUI can see it: loaded before use, moved out when something else needs the room.

    device: "auto" follows ComfyUI's rule for text encoders (the GPU unless memory is short), "cpu" stays on the CPU.
    half: run in float16 where the device does that well. Only for networks whose ranking survives it; float32 otherwise.
    row_bytes: working memory of one input row, so that ComfyUI makes room before it runs.
    source: the file or folder that the weights are from, for the fingerprint.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        device: str = "auto",
        half: bool = False,
        row_bytes: int = 64 * 2**20,
        source: Path | None = None,
    ):
        choice(device, DEVICES, "device")
        self.source = None if source is None else identity(Path(source))
        load_device = torch.device("cpu") if device == "cpu" else mm.text_encoder_device()
        offload_device = torch.device("cpu") if device == "cpu" else mm.text_encoder_offload_device()
        self.dtype = torch.float16 if half and mm.should_use_fp16(load_device) else torch.float32
        self.row_bytes, self.chunked = row_bytes, Chunked()
        network = network.train(False).requires_grad_(False).to(offload_device, self.dtype)
        self.patcher = ModelPatcher(ScorerNetwork(network), load_device, offload_device)

    @property
    def network(self) -> Any:
        return self.patcher.model.network

    def fingerprint(self) -> dict:
        return {"weights": self.source}

    def run(
        self,
        function: Callable[[Any, torch.Tensor], torch.Tensor],
        rows: torch.Tensor,
        prepare: Callable[[torch.Tensor], torch.Tensor] = lambda chunk: chunk,
    ) -> torch.Tensor:
        """function(network, prepare(chunk)) for every chunk of `rows` ([B, ...]), as one float32 tensor [B, ...] on the CPU.

        Floating-point rows arrive in the network's dtype. When float16 overflows, the network becomes float32 and the chunk runs again.
        """
        return self.chunked(lambda chunk: self._once(function, prepare(chunk)), rows)

    def _once(self, function: Callable, chunk: torch.Tensor) -> torch.Tensor:
        # Plain layers cannot run half offloaded, hence force_full_load.
        mm.load_models_gpu([self.patcher], memory_required=len(chunk) * self.row_bytes, force_full_load=True)
        with torch.no_grad():
            moved = chunk.to(
                self.patcher.load_device, self.dtype if chunk.is_floating_point() else chunk.dtype
            )
            result = function(self.network, moved).to("cpu", torch.float32)
        if self.dtype == torch.float16 and not result.isfinite().all():
            self._widen()
            return self._once(function, chunk)
        return result

    def _widen(self) -> None:
        logging.warning(
            "NoiseSearch: %s overflows in float16; it runs in float32 from now on.",
            type(self.network).__name__,
        )
        others = [loaded for loaded in mm.current_loaded_models if loaded.model is not self.patcher]
        mm.free_memory(1e30, self.patcher.load_device, keep_loaded=others)
        self.dtype = torch.float32
        network = self.network.to(self.patcher.offload_device, self.dtype)
        self.patcher = ModelPatcher(
            ScorerNetwork(network), self.patcher.load_device, self.patcher.offload_device
        )


class Chunked:
    """Calls a function on as many rows at a time as memory allows: when it runs out the chunk is halved, down to one row, and stays so.

    Before one row is given up, every other model is moved out.
    """

    def __init__(self, most: int = CHUNK):
        self.most = most

    def __call__(self, function: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        """function(chunk) -> [b, ...] on the CPU, for every chunk of `rows` [B, ...], as one tensor [B, ...]."""
        start, results, alone = 0, [], False
        while start < len(rows):
            mm.throw_exception_if_processing_interrupted()
            chunk = rows[start : start + self.most]
            result = self._attempt(function, chunk, alone)
            if result is None:
                if len(chunk) == 1:
                    mm.unload_all_models()
                    alone = True
                mm.soft_empty_cache()
                self.most = (len(chunk) + 1) // 2
            else:
                results.append(result)
                start += len(chunk)
        return results[0] if len(results) == 1 else torch.cat(results)

    @staticmethod
    def _attempt(function: Callable, chunk: torch.Tensor, alone: bool) -> torch.Tensor | None:
        """The result, or None when memory ran out and there is more to try (in a frame of its own, so that its tensors are gone afterwards)."""
        try:
            return function(chunk)
        except Exception as error:
            if alone or not is_out_of_memory(error):
                raise
            return None
