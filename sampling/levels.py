"""Noise levels of any ComfyUI model, and one scale for all of them: flow time.

ComfyUI's `noise_scaling` is linear, x = a(sigma) x0 + b(sigma) noise. Its models fill that in two ways: variance exploding (eps, v,
EDM: a = 1, b = k sigma) and flow (a = 1 - sigma, b = k sigma). Both, with their k, are found by probing. Then, for every model:

    sigma_hat = b / a      flow time t = b / (a + b) = sigma_hat / (1 + sigma_hat)
    log-SNR lambda = -2 log sigma_hat      TrigFlow angle = atan(sigma_hat / sigma_data)

All of it in float64, vectorised over tensors of any shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

Values = float | Sequence[float] | torch.Tensor

# Their probe looks right, but their forward process is not a noise interpolant.
NOT_INTERPOLANTS = ("IMG_TO_IMG", "IMG_TO_IMG_FLOW", "IMG_TO_IMG_VELOCITY", "V_PREDICTION_DDPM")


def _float64(values: Values) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().double()  # in this order: some devices know no float64
    return torch.as_tensor(values, dtype=torch.float64)


class Levels:
    """Conversions between a model's sigma, signal and noise coefficients, and flow time.

    model_sampling: what `model.get_model_object("model_sampling")` gives. Raises ValueError for a model whose forward process is
    not a noise interpolant.
    """

    def __init__(self, model_sampling: Any) -> None:
        kinds = {kind.__name__ for kind in type(model_sampling).__mro__}
        denied = kinds.intersection(NOT_INTERPOLANTS)
        sigma = torch.tensor([0.125, 0.25, 0.5], dtype=torch.float64)
        signal, noise = self._probe(model_sampling, sigma)
        self.gain = float(noise[0] / sigma[0])  # k
        self.is_flow = torch.allclose(signal, 1 - sigma)
        known = self.is_flow or torch.allclose(signal, torch.ones_like(sigma))
        if denied or not known or not self.gain > 0 or not torch.allclose(noise, self.gain * sigma):
            raise ValueError(
                f"NoiseSearch cannot put noise back into this model: its sampling class {type(model_sampling).__name__} is not a noise "
                "interpolant. Use a search that samples whole images (random or zero-order search) on a model of the eps, v, EDM or flow kind."
            )

    @staticmethod
    def _probe(model_sampling: Any, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (len(sigma), 1, 1, 1)
        zeros, ones = torch.zeros(shape, dtype=torch.float64), torch.ones(shape, dtype=torch.float64)
        signal = model_sampling.noise_scaling(sigma, zeros.clone(), ones.clone())
        noise = model_sampling.noise_scaling(sigma, ones.clone(), zeros.clone())
        return signal.flatten().double(), noise.flatten().double()

    def coefficients(self, sigma: Values) -> tuple[torch.Tensor, torch.Tensor]:
        """(a, b) at the model's sigma >= 0."""
        sigma = _float64(sigma)
        return (1 - sigma if self.is_flow else torch.ones_like(sigma)), self.gain * sigma

    def sigma_hat(self, sigma: Values) -> torch.Tensor:
        """b / a in [0, inf]."""
        a, b = self.coefficients(sigma)
        return b / a

    def time(self, sigma: Values) -> torch.Tensor:
        """Flow time in [0, 1] of the model's sigma."""
        a, b = self.coefficients(sigma)
        return b / (a + b)

    def sigma(self, time: Values) -> torch.Tensor:
        """The model's sigma at a flow time in [0, 1); [0, 1] for flow models."""
        time = _float64(time)
        # a = 1 - sigma, b = k sigma: t = k sigma / (1 - sigma + k sigma); a = 1, b = k sigma: t = k sigma / (1 + k sigma)
        return time / (self.gain * (1 - time) + (time if self.is_flow else 0))

    def log_snr(self, sigma: Values) -> torch.Tensor:
        return -2 * torch.log(self.sigma_hat(sigma))

    def sigma_from_log_snr(self, log_snr: Values) -> torch.Tensor:
        return self.sigma(torch.sigmoid(-_float64(log_snr) / 2))

    def angle(self, sigma: Values, sigma_data: float = 1.0) -> torch.Tensor:
        """TrigFlow angle in [0, pi/2]; sigma_data = 1 in the model's latent scale, 0.5 only for models trained with that."""
        a, b = self.coefficients(sigma)
        return torch.atan2(b, sigma_data * a)

    def sigma_from_angle(self, angle: Values, sigma_data: float = 1.0) -> torch.Tensor:
        angle = _float64(angle)
        a, b = torch.cos(angle), sigma_data * torch.sin(angle)
        return self.sigma(b / (a + b))
