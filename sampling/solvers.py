"""What must be known of a k-sampler to run many samples at once and have each equal a run of its own.

A stochastic sampler draws noise for the whole batch from one seed. Here every row gets what it would have drawn alone: ComfyUI's own
noise sampler, seeded per row. That needs to know which noise a sampler draws: ComfyUI's own samplers are listed here, what others draw
`toy.py` finds out, and those it cannot tell run row by row.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import comfy.model_management as mm
import torch
from comfy.k_diffusion.sampling import BrownianTreeNoiseSampler, default_noise_sampler
from comfy.samplers import KSAMPLER, cfg_function

from ..search.rollout import EXTRA
from .proof import at_home

DETERMINISTIC = frozenset(
    (
        "sample_euler",
        "sample_heun",
        "sample_heunpp2",
        "sample_dpm_2",
        "sample_lms",
        "dpm_fast_function",
        "sample_dpmpp_2m",
        "sample_dpmpp_2m_cfg_pp",
        "sample_euler_cfg_pp",
        "sample_ipndm",
        "sample_ipndm_v",
        "sample_deis",
        "sample_gradient_estimation",
        "sample_gradient_estimation_cfg_pp",
        "sample_unipc",
        "sample_unipc_bh2",
    )
)
DEFAULT_NOISE = frozenset(
    (
        "sample_euler_ancestral",
        "sample_euler_ancestral_cfg_pp",
        "sample_dpm_2_ancestral",
        "sample_dpmpp_2s_ancestral",
        "sample_dpmpp_2s_ancestral_cfg_pp",
        "sample_ddpm",
        "sample_lcm",
        "sample_res_multistep",
        "sample_res_multistep_cfg_pp",
        "sample_res_multistep_ancestral",
        "sample_res_multistep_ancestral_cfg_pp",
        "sample_er_sde",
        "sample_seeds_2",
        "sample_seeds_3",
        "sample_sa_solver",
        "sample_sa_solver_pece",
    )
)
BROWNIAN_TREE = frozenset(
    (
        "sample_dpmpp_sde",
        "sample_dpmpp_sde_gpu",
        "sample_dpmpp_2m_sde",
        "sample_dpmpp_2m_sde_gpu",
        "sample_dpmpp_2m_sde_heun",
        "sample_dpmpp_2m_sde_heun_gpu",
        "sample_dpmpp_3m_sde",
        "sample_dpmpp_3m_sde_gpu",
    )
)
NOTHING, ROWS, TREE, SEEDS = "nothing", "rows", "tree", "seeds"  # ways to draw, see `Solver.draws`
ADAPTIVE = frozenset(("dpm_adaptive_function", "sample_dpm_adaptive"))


class Solver:
    """A user's SAMPLER, taken apart. Raises ValueError for those that cannot be searched with.

    draws: how every row of a batch is given the noise that it would draw alone. NOTHING: it draws none; ROWS: by ComfyUI's default noise
    sampler, one per row; TREE: by a Brownian tree with a seed per row; SEEDS: it takes a list of seeds; None: not known (`toy.learn`).
    """

    def __init__(self, sampler: Any) -> None:
        if not isinstance(sampler, KSAMPLER):
            raise ValueError(
                f"NoiseSearch runs k-diffusion samplers (KSamplerSelect and its like), not a {type(sampler).__name__}. Choose another sampler."
            )
        self.function = sampler.sampler_function
        self.options = dict(sampler.extra_options)
        self.random_inpaint = bool(sampler.inpaint_options.get("random", False))
        self.name = getattr(self.function, "__name__", type(self.function).__name__)
        if self.name in ADAPTIVE:
            raise ValueError(
                "dpm_adaptive chooses its steps as it goes: it has no fixed cost and mixes the samples of a batch. Choose another sampler, such as dpmpp_2m."
            )
        self.draws = self._known()

    def _known(self) -> str | None:
        if getattr(self.function, "seeds_per_row", False):  # our own
            return SEEDS
        draws_globally = float(self.options.get("s_churn", 0) or 0) > 0 or "noise_sampler" in self.options
        if draws_globally or not at_home(self.function):  # names can be borrowed
            return None
        lists = ((NOTHING, DETERMINISTIC), (ROWS, DEFAULT_NOISE), (TREE, BROWNIAN_TREE))
        return next((draws for draws, names in lists if self.name in names), None)

    @property
    def batches(self) -> bool:
        """Whether rows can share a batch."""
        return self.draws is not None

    def exact(self) -> Solver:
        """The solver without the user's s_noise, which scales what it draws."""
        if "s_noise" not in self.options:
            return self
        one = copy.copy(self)
        one.options = {**self.options, "s_noise": 1.0}
        return one

    def run(
        self,
        model: Any,
        x: torch.Tensor,
        sigmas: torch.Tensor,
        seeds: Sequence[int],
        model_options: dict,
        denoise_mask: torch.Tensor | None = None,
        callback: Callable[[dict], None] | None = None,
        disable: bool | None = True,
        sources: dict | None = None,
    ) -> torch.Tensor:
        """The solver over `sigmas` on x [B, ...], row i drawing from seeds[i] as it would alone. Returns x at sigmas[-1].

        sources: options from `noise_sources`, in place of what the seeds alone would draw.
        """
        if len(seeds) not in (1, x.shape[0]) or (len(seeds) > 1 and not self.batches):
            raise ValueError(f"{self.name} cannot run {x.shape[0]} samples with {len(seeds)} seeds at once.")
        seed: int | list[int] = seeds[0]
        if sources is None and len(seeds) > 1 and self.draws == ROWS:
            sources = self.noise_sources(x, sigmas, seeds)
        elif len(seeds) > 1 and (self.draws == SEEDS or (sources is None and self.draws == TREE)):
            seed = list(seeds)
        extra_args = {"model_options": model_options, "seed": seed, "denoise_mask": denoise_mask}
        return self.function(
            model,
            x,
            sigmas,
            extra_args=extra_args,
            callback=callback,
            disable=disable,
            **{**self.options, **(sources or {})},
        )

    def noise_sources(self, x: torch.Tensor, sigmas: torch.Tensor, seeds: Sequence[int]) -> dict[str, Any]:
        """The options that make a stochastic solver draw per row, from ComfyUI's own noise samplers; {} for those that draw nothing."""
        if self.draws == ROWS:
            return {"noise_sampler": row_noise(x, seeds)}
        if self.draws == TREE:
            seed = list(seeds) if len(seeds) > 1 else seeds[0]
            return {
                "noise_sampler": BrownianTreeNoiseSampler(
                    x, sigmas[sigmas > 0].min(), sigmas.max(), seed=seed, cpu=not self.name.endswith("_gpu")
                )
            }
        return {}


def row_noise(x: torch.Tensor, seeds: Sequence[int]) -> Callable[[Any, Any], torch.Tensor]:
    """ComfyUI's default noise sampler, one per row; one for the whole batch when there is one seed."""
    if len(seeds) == 1:
        return default_noise_sampler(x, seed=seeds[0])
    rows = [default_noise_sampler(x[i : i + 1], seed=seed) for i, seed in enumerate(seeds)]
    return lambda sigma, sigma_next: torch.cat([row(sigma, sigma_next) for row in rows])


class Trace:
    """The model as a solver sees it. When a preview already paid for the first evaluation, its answer is given back without asking the model again.

    x, sigma: where the solver starts; model_options: what it was handed; known: the denoised at (x, sigma), or None.
    watch: a noise level of the schedule; `seen` is the denoised when the solver first came there. record: the numbers of evaluations of which
    `recorded` gets (sigma, x, denoised) of the first row.
    """

    def __init__(
        self,
        model: Any,
        x: torch.Tensor,
        sigma: float | torch.Tensor,
        model_options: dict,
        known: torch.Tensor | None = None,
        watch: float | None = None,
        record: tuple[int, ...] = (),
    ) -> None:
        self._model, self._x, self._sigma, self._options, self._known = (
            model,
            x,
            float(sigma),
            model_options,
            known,
        )
        self._watch = watch
        self.seen: torch.Tensor | None = None
        self._record = record
        self.recorded: list = []
        self._asked: list[torch.Tensor] = []

    @property
    def levels(self) -> list[float]:
        """Sigmas of the evaluations that reached the model. To be read when the run is over: the host waits for them."""
        return [float(sigma) for sigma in self._asked]

    @property
    def evaluations(self) -> int:
        return len(self._asked)

    def __getattr__(self, name: str) -> Any:
        """Solvers reach through to model_sampling, noise and latent_image."""
        return getattr(self._model, name)

    def __call__(
        self, x: torch.Tensor, sigma: torch.Tensor, model_options: dict, seed: Any = None, **kwargs: Any
    ) -> torch.Tensor:
        known, self._known = self._known, None  # only ever the first call
        # CFG++ solvers listen inside the evaluation, through options of their own: theirs is not left out
        if (
            known is not None
            and x is self._x
            and model_options is self._options
            and abs(float(sigma.flatten()[0]) - self._sigma) <= 1e-6 * self._sigma
        ):
            return known
        given = x[:1].cpu().clone() if self.evaluations in self._record else None  # solvers write into it
        self._asked.append(sigma.flatten()[:1].clone())
        # a list of seeds is for the noise sampler only
        denoised = self._model(
            x, sigma, model_options=model_options, seed=seed[0] if isinstance(seed, list) else seed, **kwargs
        )
        if (
            self._watch is not None
            and self.seen is None
            and abs(float(sigma.flatten()[0]) - self._watch) <= 1e-5 * self._watch
        ):
            self.seen = denoised
        if given is not None:
            self.recorded.append((float(sigma.flatten()[0]), given, denoised[:1].cpu().clone()))
        return denoised


def _noise_at(sigmas: torch.Tensor, model_sampling: Any) -> list[torch.Tensor]:
    """Noise of the first and of the last level, not of the seed that a solver draws from in a dry run."""
    generator = torch.Generator().manual_seed(2025)
    return [
        model_sampling.noise_scaling(
            sigma, torch.randn(1, 1, 64, 64, generator=generator), torch.zeros(1, 1, 64, 64)
        )
        for sigma in (sigmas[0], sigmas[-1])
    ]


class Nothing:
    """A model that predicts zeros, with as much around it as stock solvers reach for."""

    def __init__(self, model_sampling: Any) -> None:
        patcher = SimpleNamespace(get_model_object=lambda name: model_sampling)
        self.inner_model = SimpleNamespace(
            inner_model=SimpleNamespace(model_sampling=model_sampling), model_patcher=patcher
        )

    def __call__(
        self, x: torch.Tensor, sigma: Any, model_options: dict, seed: Any = None, denoise_mask: Any = None
    ) -> torch.Tensor:
        mm.throw_exception_if_processing_interrupted()
        zeros = torch.zeros_like(x)
        return cfg_function(None, zeros, zeros, 1.0, x, sigma, model_options)


def no_predictions(solver: Solver) -> str:
    """What to say where an unfinished sample cannot be shown for free."""
    return f'The sampler {solver.name} reports no predictions, so its unfinished samples cannot be shown. Use the preview "{EXTRA}", or another sampler.'


def levels_asked(solver: Solver, sigmas: torch.Tensor, model_sampling: Any) -> list[float]:
    """The noise levels at which the solver asks the model on its way over `sigmas`, in order."""
    x = torch.zeros(1, 1, 8, 8)
    options: dict[str, Any] = {}
    trace = Trace(Nothing(model_sampling), x, sigmas[0], options)
    with torch.random.fork_rng(devices=[]):
        solver.exact().run(trace, x, sigmas.cpu().clone(), [0], options)
    return trace.levels


MISSES = 0.1  # relative error of the noise level at which a run is taken to end elsewhere; a sample of 4096 numbers is off by 0.01


def count_evaluations(
    solver: Solver,
    sigmas: torch.Tensor,
    model_sampling: Any,
    known: bool = False,
    watch: float | None = None,
    whole: bool = True,
    shows: bool = False,
) -> int:
    """Denoiser evaluations that the solver spends on `sigmas`, found by running it on one small sample of a model that predicts zeros.

    known: the first answer is known already. watch: a level that it must come to. whole: False for a piece of a schedule, which must end
    at the last of its sigmas: then only noise of that level is left. shows: its last prediction is wanted. Raises ValueError for solvers that cannot be foreseen, or end elsewhere.
    """
    solver = solver.exact()
    options: dict[str, Any] = {}
    said: list[bool] = []
    try:
        x, there = [torch.zeros(1, 1, 8, 8)] * 2 if whole else _noise_at(sigmas, model_sampling)
        trace = Trace(
            Nothing(model_sampling), x, sigmas[0], options, torch.zeros_like(x) if known else None, watch
        )
        with torch.random.fork_rng(devices=[]):
            end = solver.run(
                trace, x, sigmas.clone(), [0], options, callback=lambda step: said.append("denoised" in step)
            )
    except mm.InterruptProcessingException:
        raise
    except Exception as error:
        raise ValueError(
            f"The cost of the sampler {solver.name} could not be found by a dry run ({error!r}). Choose another sampler."
        ) from error
    if not whole and end.shape != x.shape:
        raise ValueError(
            f"The sampler {solver.name} changes the size of what it samples, from {list(x.shape)} to {list(end.shape)} in a dry run, so it cannot be used for a piece of a schedule. Choose another sampler, such as euler, or a search that samples whole images (random or zero-order search)."
        )
    if trace.evaluations + known < 1:
        raise ValueError(
            f"The sampler {solver.name} never asked the model anything in a dry run. Choose another sampler."
        )
    if shows and not any(said):
        raise ValueError(no_predictions(solver))
    if watch is not None and trace.seen is None:
        raise ValueError(
            f"A self-supervised verifier looks at the prediction near flow time 0.4, but {solver.name} does not stop there. Choose another sampler, such as euler."
        )
    if not whole and abs(float(end.std() - there.std())) > MISSES * float(max(there.std(), 0.1 * x.std())):
        raise ValueError(
            f"The sampler {solver.name.removeprefix('sample_').removesuffix('_function')} cannot be used for a piece of a schedule: asked to go down to sigma {float(sigmas[-1]):.4g} in {len(sigmas) - 1} steps it leaves another "
            "amount of noise. Choose another sampler, such as euler or dpmpp_2m, or a search that samples whole images (random or zero-order search)."
        )
    return trace.evaluations
