"""A device that is not there: ComfyUI's model management believes in it, counts its memory, and every byte moved to it is counted.

Weights are real but 1024 times smaller than they are said to be; a clock goes on by the bytes moved and by the network's calls.
Only what asks the device (its size, what is free) is replaced; loading, unloading and making room are ComfyUI's own.
"""

from types import SimpleNamespace

import comfy.model_management as mm
import comfy.ops
import torch
from closed_form import MixturePatcher, PixelVAE, make_model
from comfy.model_patcher import ModelPatcher
from noisesearch.sampling import evaluator, waves
from noisesearch.verifiers.base import Verifier
from noisesearch.verifiers.networks.managed import ManagedModel

SHRUNK, GB = 1024, 1e9
CPU, DEVICE = torch.device("cpu"), torch.device("cpu", 0)  # equal in what they do, not in `==`
SPEED = 6e9  # bytes a second over the bus, both ways


class Device:
    """total: bytes. moved_in, moved_out: bytes so far, by name of the network. now: the clock."""

    def __init__(self, monkeypatch, total):
        self.total, self.now = total, 0.0
        self.moved_in, self.moved_out = {}, {}
        self._known = {}  # bytes on the device, by the model's id
        real_size = mm.module_size
        monkeypatch.setattr(mm, "vram_state", mm.VRAMState.NORMAL_VRAM)
        monkeypatch.setattr(mm, "is_device_cpu", lambda device: device == CPU)
        monkeypatch.setattr(mm, "module_size", lambda module: real_size(module) * SHRUNK)
        monkeypatch.setattr(mm, "get_total_memory", lambda device=None, **options: total)
        monkeypatch.setattr(mm, "get_free_memory", self._free)
        monkeypatch.setattr(mm, "text_encoder_device", lambda: DEVICE)
        monkeypatch.setattr(mm, "text_encoder_offload_device", lambda: CPU)
        monkeypatch.setattr(mm, "current_loaded_models", [])
        for name in ("load", "unpatch_model", "partially_unload"):
            monkeypatch.setattr(ModelPatcher, name, self._counted(getattr(ModelPatcher, name)))
        clock = SimpleNamespace(monotonic=lambda: self.now)
        for module in (evaluator, waves):
            monkeypatch.setattr(module, "time", clock)

    def _free(self, device=None, torch_free_too=False):
        free = self.total - sum(self._known.values())
        return (free, 0) if torch_free_too else free

    def _counted(self, method):
        def counting(patcher, *args, **kwargs):
            result = method(patcher, *args, **kwargs)
            model = patcher.model
            change = model.model_loaded_weight_memory - self._known.get(id(model), 0)
            self._known[id(model)] = model.model_loaded_weight_memory
            moved = self.moved_in if change > 0 else self.moved_out
            moved[type(model).__name__] = moved.get(type(model).__name__, 0) + abs(change)
            self.now += abs(change) / SPEED
            return result

        return counting


def weights(size, parts=50):
    """Layers of so many bytes in all, as they are said to be; ComfyUI can keep any of them off the device."""
    side = round((size / SHRUNK / parts / 4) ** 0.5)
    return torch.nn.ModuleList(comfy.ops.manual_cast.Linear(side, side, bias=False) for _ in range(parts))


def diffusion_model(device, size, seconds):
    """The closed-form model as one of `size` bytes whose network takes `seconds` for one sample."""

    class Slow(list):
        def append(self, rows):
            device.now += seconds * rows / 2  # conditional and unconditional ones
            super().append(rows)

    patcher = make_model("CONST")
    network = patcher.model.diffusion_model
    network.blocks = weights(size)
    network.spy.batches = Slow()
    return MixturePatcher(patcher.model, DEVICE, CPU)


class ManagedVAE(PixelVAE):
    """Loads `size` bytes as comfy.sd.VAE does, and asks for the room that an image of 1024 x 1024 takes."""

    class Autoencoder(torch.nn.Module):
        def __init__(self, size):
            super().__init__()
            self.blocks = weights(size)

    def __init__(self, size):
        super().__init__()
        self.patcher = ModelPatcher(self.Autoencoder(size), DEVICE, CPU)

    def decode(self, samples):
        mm.load_models_gpu([self.patcher], memory_required=2178 * 128 * 128 * 64 * 2)
        return super().decode(samples)


class ManagedVerifier(Verifier):
    """Mean brightness, from a network of `size` bytes under our own management."""

    name = "brightness"

    def __init__(self, size):
        network = torch.nn.Sequential(*weights(size))
        self.model = ManagedModel(network)

    def score(self, batch):
        return self.model.run(lambda network, images: images.flatten(1).mean(1), batch.images)
