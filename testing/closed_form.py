"""A diffusion model whose answers are known: a Gaussian mixture with its exact denoiser, as a real ComfyUI MODEL.

x0 ~ sum_k pi_k N(mean_k, std_k^2 I) in an 8x8 latent, and x = a x0 + b eps. The posterior mean E[x0 | x] has a closed form, so every
denoised value, every sample's mode and every density can be checked. Everything about the mixture is in model space (after
`process_latent_in`) and float64; the network around it speaks float32 as usual.

Needs ComfyUI on sys.path and the pack imported as `noisesearch` (tests/conftest.py, or tools/pack.py by hand).

>>> model = make_model("CONST")
>>> samples = comfy.sample.sample(model, noise, 20, 4.0, "euler", "simple", cond(one_hot(2)), uncond(), latent)
>>> model.mixture.mode_of(model.model.process_latent_in(samples)), model.spy.calls, model.spy.rows
"""

import math
import os
import time

import comfy.latent_formats
import comfy.model_base
import comfy.model_patcher
import comfy.supported_models_base
import torch
from comfy.patcher_extension import WrapperExecutor, WrappersMP, get_all_wrappers
from noisesearch.sampling import proof
from noisesearch.verifiers.base import Verifier

proof.HOMES.append(os.path.abspath(__file__))  # the network below leaves rows alone, as ComfyUI's do

# The noise schedules that people have: SD1.5, SD2.1-v, Playground v2.5 and SD3 (its sampling class; shift 1 keeps sigma uniform in time).
FAMILIES = {
    "EPS": (comfy.model_base.ModelType.EPS, {}),
    "V_PREDICTION": (comfy.model_base.ModelType.V_PREDICTION, {}),
    "EDM": (comfy.model_base.ModelType.EDM, {"sigma_data": 0.5, "sigma_min": 0.002, "sigma_max": 80.0}),
    "CONST": (comfy.model_base.ModelType.FLOW, {"shift": 1.0}),
}


def coefficients(family, sigma):
    """(a, b) of x = a x0 + b eps at a family's own noise level `sigma`."""
    return (1.0 - sigma, sigma) if family == "CONST" else (sigma * 0.0 + 1.0, sigma)


class Mixture:
    """means [K, *shape], stds [K], weights [K] (sum 1). `logits` [K] or [B, K] below reweight the components: pi_k exp(logit_k), normalised."""

    def __init__(self, means, stds, weights):
        self.means, self.stds, self.weights = means.double(), stds.double(), weights.double()

    def _log_joint(self, x, a, b, logits):
        """log p(k) p(x | k) [B, K], with x | k ~ N(a mean_k, v_k I), and what it is made of: v [B, K], x - a mean [B, K, D], a [B, 1]."""
        x = x.double().flatten(1)
        a, b = (
            torch.as_tensor(level, dtype=torch.float64).reshape(-1, 1).expand(x.shape[0], 1)
            for level in (a, b)
        )
        offset = x[:, None] - a[..., None] * self.means.flatten(1)
        variance = (a * self.stds) ** 2 + b**2
        prior = torch.log_softmax(self.weights.log() + (0.0 if logits is None else logits), dim=-1)
        gaussian = -0.5 * ((offset**2).sum(-1) / variance + x.shape[1] * (2 * math.pi * variance).log())
        return prior + gaussian, variance, offset, a

    def log_density(self, x, a=1.0, b=0.0, logits=None):
        """log p(x) [B] of x = a x0 + b eps; of clean latents by default."""
        return self._log_joint(x, a, b, logits)[0].logsumexp(-1)

    def mode_of(self, x0):
        """The component [B] that a clean latent most likely comes from."""
        return self._log_joint(x0, 1.0, 0.0, None)[0].argmax(-1)

    def posterior_mean(self, x, a, b, logits=None):
        """E[x0 | x = a x0 + b eps], shaped as x; a and b are numbers or [B]."""
        joint, variance, offset, a = self._log_joint(x, a, b, logits)
        per_component = self.means.flatten(1) + (a * self.stds**2 / variance)[..., None] * offset
        return (joint.softmax(-1)[..., None] * per_component).sum(1).reshape(x.shape)

    def denoise(self, x, sigma_hat, logits=None):
        """E[x0 | x = x0 + sigma_hat eps]."""
        return self.posterior_mean(x, 1.0, sigma_hat, logits)

    def sample(self, count, generator, logits=None):
        """Exact samples [count, *shape]."""
        prior = torch.softmax(self.weights.log() + (0.0 if logits is None else logits), dim=-1)
        k = torch.multinomial(prior, count, replacement=True, generator=generator)
        noise = torch.randn((count, *self.means.shape[1:]), generator=generator, dtype=torch.float64)
        return self.means[k] + self.stds[k].reshape(-1, *[1] * (noise.ndim - 1)) * noise


class Spy:
    """What the network ran for: the batch size of each call (conditional and unconditional rows together). delay: seconds that a call takes besides."""

    def __init__(self):
        self.delay = 0.0
        self.reset()

    def reset(self):
        self.batches = []

    @property
    def calls(self):
        return len(self.batches)

    @property
    def rows(self):
        return sum(self.batches)


class MixtureNetwork(torch.nn.Module):
    """The "trained network": what a family's network would output if it had learnt the mixture perfectly."""

    dtype = torch.float32

    def __init__(self, mixture, family, sigma_data):
        super().__init__()
        self.mixture, self.family, self.sigma_data, self.spy = mixture, family, sigma_data, Spy()
        self.register_buffer("means", mixture.means.float())  # weights for ComfyUI's memory accounting

    def forward(self, x, timesteps, context=None, *, transformer_options, **kwargs):
        """x [B, *shape]: scaled by `calculate_input`. context [B, tokens, K]: logits (tokens are averaged, ComfyUI pads by repeating them)."""
        wrappers = get_all_wrappers(WrappersMP.DIFFUSION_MODEL, transformer_options)
        return WrapperExecutor.new_class_executor(self._forward, self, wrappers).execute(
            x, timesteps, context, transformer_options
        )

    def _forward(self, x, timesteps, context, transformer_options):
        self.spy.batches.append(x.shape[0])
        time.sleep(self.spy.delay)
        sigmas = transformer_options["sigmas"]  # exact, while discrete models round their timesteps
        sigma = sigmas.double().repeat(x.shape[0] // sigmas.shape[0]).reshape(-1, *[1] * (x.ndim - 1))
        data = self.sigma_data
        norm = 1.0 if self.family == "CONST" else (sigma**2 + data**2).sqrt()
        x = x.double() * norm
        logits = None if context is None else context.double().mean(1)
        x0 = self.mixture.posterior_mean(x, *coefficients(self.family, sigma), logits)
        if self.family in ("EPS", "CONST"):
            output = (x - x0) / sigma
        else:
            output = (x0 - x * (data / norm) ** 2) * norm / (sigma * data)
            output = -output if self.family == "V_PREDICTION" else output
        return output.float()


class MixturePatcher(comfy.model_patcher.ModelPatcher):
    """A MODEL that shows its mixture and its spy; clones share both."""

    @property
    def mixture(self):
        return self.model.diffusion_model.mixture

    @property
    def spy(self):
        return self.model.diffusion_model.spy


class ScaledLatents(comfy.latent_formats.LatentFormat):
    """Latents on the wire differ from the model's by a scale and a shift, so that a forgotten conversion shows."""

    scale_factor, shift_factor = 0.5, 0.25

    def __init__(self, dims=2):
        self.latent_dimensions = dims

    def process_in(self, latent):
        return (latent - self.shift_factor) * self.scale_factor

    def process_out(self, latent):
        return latent / self.scale_factor + self.shift_factor


def make_mixture(components, shape, seed):
    """Well separated components with equal norms, unequal weights (1 : 2 : ... : K) and slightly different widths."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn((components, math.prod(shape)), generator=generator, dtype=torch.float64)
    means = 8.0 * torch.nn.functional.normalize(means, dim=1)
    weights = torch.arange(1, components + 1, dtype=torch.float64)
    return Mixture(
        means.reshape(components, *shape), torch.linspace(0.3, 0.4, components), weights / weights.sum()
    )


def make_model(family, *, components=4, seed=0, latent_format=None, dims=2, frames=3):
    """The mixture as a ComfyUI MODEL on the CPU. Latents are [B, C, 8, 8], or [B, C, frames, 8, 8] with dims=3; C is the format's (4)."""
    latent_format = latent_format or ScaledLatents(dims)
    shape = (latent_format.latent_channels, *((frames,) if dims == 3 else ()), 8, 8)
    config = comfy.supported_models_base.BASE({"disable_unet_model_creation": True})
    config.latent_format = latent_format
    model_type, config.sampling_settings = FAMILIES[family]
    device = torch.device("cpu")
    base = comfy.model_base.BaseModel(config, model_type, device=device)
    base.diffusion_model = MixtureNetwork(
        make_mixture(components, shape, seed), family, getattr(base.model_sampling, "sigma_data", 1.0)
    )
    return MixturePatcher(base, load_device=device, offload_device=device)


def one_hot(component, components=4, strength=1000.0):
    """Logits that leave one component only."""
    return strength * torch.nn.functional.one_hot(torch.as_tensor(component), components).float()


def cond(values):
    """CONDITIONING from logits [K], or [B, K] for a batched conditioning."""
    values = torch.as_tensor(values, dtype=torch.float32)
    return [[values.reshape(-1, 1, values.shape[-1]), {}]]


def uncond(components=4):
    """CONDITIONING of the mixture as it is."""
    return cond(torch.zeros(components))


class PixelVAE:
    """Stands for a VAE: the first three channels through a sigmoid, one pixel per latent cell. `decodes` counts images (videos)."""

    def __init__(self, latent_format=None, gain=4.0):
        self.latent_format, self.gain, self.decodes = latent_format or ScaledLatents(), gain, 0

    def decode(self, samples):
        """[B, C, 8, 8] -> [B, 8, 8, 3], or [B, C, T, 8, 8] -> [B, T, 8, 8, 3], in [0, 1]."""
        self.decodes += samples.shape[0]
        return torch.sigmoid(self.gain * self.latent_format.process_in(samples)[:, :3]).movedim(1, -1)

    def encode(self, images):
        """The inverse of `decode`, zeros in the channels that images do not have (in model space)."""
        latent = torch.logit(images.movedim(-1, 1), eps=1e-6) / self.gain
        rest = latent.new_zeros((latent.shape[0], self.latent_format.latent_channels - 3, *latent.shape[2:]))
        return self.latent_format.process_out(torch.cat([latent, rest], dim=1))


class TargetVerifier(Verifier):
    """Minus the mean squared distance to a target image [H, W, 3] (or video). `calls` counts batches, `images` what was in them."""

    name = "target"

    def __init__(self, target):
        self.target, self.calls, self.images = target, 0, 0

    def score(self, batch):
        self.calls += 1
        self.images += batch.images.shape[0]
        return -((batch.images - self.target) ** 2).flatten(1).mean(1).float().cpu()
