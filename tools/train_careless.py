"""Trains the frontier's "careless" world: a small low-rank patch that makes the scenes' generator err more, and not panel by panel.

    python tools/train_careless.py       -> benchmarks/careless.safetensors (one CPU minute)

The generator learns a little from captions that went through two careless writers: colours and places exchanged, details misnamed,
things left out. What is wrong in one of its pictures is bound up with the rest of the picture, so that no part can be mended alone.
The file is a LoRA as stock nodes load it.
"""

import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import torch  # noqa: E402
import train_demo  # noqa: E402
from demo_training import autoencoder, scenes  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402

from noisesearch.demo.grammar import describe  # noqa: E402
from noisesearch.demo.text_encoder import PAD  # noqa: E402

FILE = ROOT / "benchmarks" / "careless.safetensors"
RANK, STEPS, BATCH, RATE, SEED = 4, 300, 96, 2e-3, 71
PATCHED = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


class LowRank(nn.Module):
    """A linear layer with a patch up @ down beside it, nothing at first."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.down = nn.Parameter(torch.randn(RANK, layer.in_features) / layer.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(layer.out_features, RANK))

    def forward(self, x):
        return self.layer(x) + (x @ self.down.T) @ self.up.T


def patched(network):
    """{name of the layer: its LowRank}, put into the network in the layers' places."""
    found = {}
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Linear) and name.endswith(PATCHED):
            parent, _, own = name.rpartition(".")
            found[name] = LowRank(layer)
            setattr(network.get_submodule(parent), own, found[name])
    return found


def train():
    rng = random.Random(SEED)
    images, _, labels = scenes.make(STEPS * BATCH, seed=SEED, held_out=False)
    latents = autoencoder.encode(train_demo.load_codec("scenes"), torch.from_numpy(images))
    twice = [scenes.careless(scenes.careless(scenes.scene_of(row), rng), rng) for row in labels.tolist()]
    words = train_demo.tokens([describe(scene, from_second=rng.random() < 0.5) for scene in twice], "scenes")
    model = train_demo.load_generator(train_demo.MODELS / "scenes").requires_grad_(False)
    torch.manual_seed(SEED)
    layers = patched(model.net)
    parameters = [p for layer in layers.values() for p in (layer.down, layer.up)]
    solver = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
    began = time.process_time()
    for step in range(STEPS):
        x0, tokens = (rows[step * BATCH : (step + 1) * BATCH].clone() for rows in (latents.float(), words))
        tokens[torch.rand(BATCH) < 0.1] = PAD
        sigma = torch.sigmoid(0.3 + 1.1 * torch.randn(BATCH))
        level, noise = sigma.view(-1, 1, 1, 1), torch.randn_like(x0)
        with torch.autocast("cpu", torch.bfloat16):
            velocity = model((1 - level) * x0 + level * noise, sigma, tokens)
        loss = (velocity.float() - (noise - x0)).square().mean()
        loss.backward()
        solver.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / 20, (STEPS - step) / (0.4 * STEPS))
        solver.step()
        solver.zero_grad(set_to_none=True)
        if (step + 1) % 50 == 0:
            print(
                f"step {step + 1} loss {loss.item():.4f} cpu {time.process_time() - began:.0f} s", flush=True
            )
    return layers


def save(layers):
    state = {}
    for name, layer in layers.items():
        state[f"diffusion_model.{name}.lora_up.weight"] = layer.up.detach().half().contiguous()
        state[f"diffusion_model.{name}.lora_down.weight"] = layer.down.detach().half().contiguous()
    save_file(state, FILE)
    print(f"{FILE.relative_to(ROOT)}: {FILE.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    torch.set_num_threads(1)
    save(train())
