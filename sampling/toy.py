"""What an unknown sampler does, found by running it on a toy: a model whose answers are not linear, so that nothing cancels out.

A sampler that gives three rows of a batch what it gives each of them alone may have them in one batch; one that goes over a schedule in
single steps as it goes over the whole may have noise put back between its steps.
"""

from __future__ import annotations

import copy
import weakref
from typing import Any

import torch
from comfy.model_sampling import EPS, ModelSamplingDiscrete
from comfy.samplers import cfg_function

from .solvers import NOTHING, ROWS, SEEDS, Nothing, Solver

SEEN = 8  # levels of a schedule that the toy is run over
SAME = 1e-4  # difference of two results, in their spread, that is rounding
SEEDS_TRIED = [11, 12, 13]
PLAIN = (bool, int, float, str, type(None))

_LEARNT: weakref.WeakKeyDictionary = (
    weakref.WeakKeyDictionary()
)  # sampler function -> {(options, kind of levels): how it draws}


class Toy(Nothing):
    """A model that mixes neighbours and bends what it is given, with and without a prompt."""

    def __call__(
        self,
        x: torch.Tensor,
        sigma: torch.Tensor,
        model_options: dict,
        seed: Any = None,
        denoise_mask: Any = None,
    ) -> torch.Tensor:
        level = sigma.reshape(-1, *[1] * (x.ndim - 1))
        bent = torch.tanh(x / (1.0 + level**2).sqrt())
        with_prompt = bent + 0.3 * bent.roll(1, -1) * bent.roll(1, 1)
        return cfg_function(None, with_prompt, 0.5 * torch.sin(3.0 * bent), 1.5, x, sigma, model_options)


def learn(solver: Solver, model_sampling: Any, sigmas: torch.Tensor) -> None:
    """Find out how a sampler draws where that is not known; it stays None when its rows depend on each other all the same."""
    if solver.draws is not None:
        return
    options = sorted(solver.options.items())
    try:
        known = _LEARNT.setdefault(solver.function, {})
    except TypeError:  # a callable that cannot be remembered
        known = {}
    if not all(isinstance(value, PLAIN) for _, value in options):  # of others nothing tells one from another
        known = {}
    key = (tuple(options), type(model_sampling).__mro__[1:])
    if key not in known:
        known[key] = _found(solver, model_sampling, _some(sigmas))
    solver.draws = known[key]


def _some(sigmas: torch.Tensor) -> torch.Tensor:
    places = torch.linspace(0, len(sigmas) - 1, min(len(sigmas), SEEN)).round().long()
    return sigmas[places].float().cpu()


def _found(solver: Solver, model_sampling: Any, sigmas: torch.Tensor) -> str | None:
    noise = torch.randn(len(SEEDS_TRIED), 4, 16, 16, generator=torch.Generator().manual_seed(2025))
    x = model_sampling.noise_scaling(sigmas[0], noise, torch.zeros_like(noise))
    try:
        alone = torch.cat(
            [_run(solver, model_sampling, x[i : i + 1], sigmas, [seed]) for i, seed in enumerate(SEEDS_TRIED)]
        )
    except Exception:  # nor can its cost be found, which says so
        return None
    for draws in (NOTHING, ROWS, SEEDS):
        one = copy.copy(solver)
        one.draws = draws
        try:
            together = _run(one, model_sampling, x, sigmas, SEEDS_TRIED)
        except Exception:  # it takes no noise sampler, or no list of seeds
            continue
        if _same(together, alone):
            return draws
    return None


def _run(
    solver: Solver,
    model_sampling: Any,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    seeds: list[int],
    sources: dict | None = None,
) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seeds[0])  # for those that draw from the global one
        options: dict = {}
        return solver.run(Toy(model_sampling), x.clone(), sigmas.clone(), seeds, options, sources=sources)


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and float((a - b).abs().max()) <= SAME * float(b.std())


def draws_on_the_way(solver: Solver, model_sampling: Any, sigmas: torch.Tensor) -> bool | None:
    """Whether two runs from one noise differ by their seeds; None when the sampler does not run on the toy."""
    sigmas = _some(sigmas)
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(2025))
    x = model_sampling.noise_scaling(sigmas[0], noise, torch.zeros_like(noise))
    try:
        one, two = (_run(solver, model_sampling, x, sigmas, [seed]) for seed in SEEDS_TRIED[:2])
    except Exception:  # nor can its cost be found, which says so
        return None
    return not _same(one, two)


class _Levels(ModelSamplingDiscrete, EPS):
    """The noise levels of Stable Diffusion."""


def steps_alone(solver: Solver) -> bool:
    """Whether a sampler looks neither back nor ahead: each of its steps by itself makes up the whole."""
    sampling = _Levels()
    sigmas = torch.tensor([10.0, 4.0, 1.5, 0.4])
    solver = copy.copy(solver)
    learn(solver, sampling, sigmas)
    if solver.draws in (None, SEEDS):
        return False
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(2025))
    x = whole = 10.0 * noise
    seeds = SEEDS_TRIED[:1]
    whole = _run(solver, sampling, x, sigmas, seeds, solver.noise_sources(x, sigmas, seeds))
    sources = solver.noise_sources(x, sigmas, seeds)
    for i in range(len(sigmas) - 1):
        x = _run(solver, sampling, x, sigmas[i : i + 2], seeds, sources)
    return _same(x, whole)
