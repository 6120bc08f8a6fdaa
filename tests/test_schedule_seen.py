"""A piece of a schedule looks to patches like the part of the user's schedule that it is; the solver runs the piece only."""

import comfy.hooks
import comfy.sample
import comfy.samplers
import pytest
import tiny_models as tiny
import torch
from closed_form import FAMILIES, make_model
from graphs import Graph, evaluated, scheduler_for, some_latent
from hypothesis import given
from hypothesis import strategies as st
from noisesearch.sampling.levels import Levels
from noisesearch.sampling.schedule import Schedule
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Rollout

SINGLE_STEP = ["euler", "heun", "dpm_2", "euler_cfg_pp"]
SEED = 7


def equal_when_cut(graph, cuts=(2, 4), atol=2e-5):
    """A run cut at places of the grid and finished, against the stock run, which is returned with the evaluator."""
    evaluator = graph.evaluator(rows=2)
    times = evaluator.schedule.times
    evaluated(evaluator, [Rollout(NoiseRecipe(SEED + i), stop=float(times[cuts[0]])) for i in range(2)])
    for number, cut in enumerate(cuts[1:], 1):
        asked = [Rollout(parent=2 * number - 2 + i, stop=float(times[cut]), score=False) for i in range(2)]
        evaluated(evaluator, asked, first=2 * number)
    last = 2 * len(cuts)
    evaluated(evaluator, [Rollout(parent=last - 2 + i) for i in range(2)], first=last)
    for i in range(2):
        stock = graph.stock(SEED + i)
        torch.testing.assert_close(
            evaluator.shelf[last + i].latent, stock, atol=atol * float(stock.std().clamp(min=1)), rtol=0
        )
    return stock


@pytest.mark.parametrize("name", SINGLE_STEP)
@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_patches_that_read_the_schedule_see_the_whole_of_it(family, name):
    seen = []

    def by_place(args):
        sigmas, sigma = args["model_options"]["transformer_options"]["sample_sigmas"], args["sigma"][0]
        seen.append(sigmas.tolist())
        return args["denoised"] * (1.0 - 0.1 * float((sigmas > sigma).float().mean()) - 0.02 * len(sigmas))

    graph = Graph.mixture(family, sampler_name=name)
    graph.model = graph.model.clone()
    graph.model.set_model_sampler_post_cfg_function(by_place)
    equal_when_cut(graph)
    assert set(map(tuple, seen)) == {tuple(graph.sigmas.tolist())}


@pytest.mark.parametrize("name", SINGLE_STEP)
@torch.inference_mode()
def test_masks_that_change_with_the_level(name):
    """Differential Diffusion asks where in the schedule a level lies."""
    latent = {"samples": some_latent(), "noise_mask": torch.linspace(0, 1, 64).expand(1, 64, 64)}
    graph = Graph.mixture("EPS", latent=latent, sampler_name=name)
    plain = graph.stock(SEED + 1)
    graph.model = tiny.node(
        "differential_diffusion", "DifferentialDiffusion", model=graph.model, strength=1.0
    )[0]
    stock = equal_when_cut(graph)
    assert (stock - plain).abs().max() > 0.1  # it does something


@torch.inference_mode()
def test_context_windows_move_from_step_to_step():
    """Windows over the width of an image, as over the frames of a video."""
    graph = Graph(tiny.unet(), tiny.prompt(1), tiny.prompt(2), {"samples": torch.zeros(1, 4, 8, 24)}, steps=6)
    plain = graph.stock(SEED + 1)
    windows = {
        "context_length": 8,
        "context_overlap": 2,
        "context_stride": 1,
        "closed_loop": False,
        "fuse_method": "pyramid",
    }
    graph.model = tiny.node(
        "context_windows",
        "ContextWindowsManual",
        model=graph.model,
        context_schedule="standard_uniform",
        dim=3,
        **windows,
    )[0]
    stock = equal_when_cut(graph, atol=1e-4)
    assert (stock - plain).abs().max() > 0.1


def keyframed(guarantees, name, kind="lora"):
    """A tiny Stable Diffusion whose positive prompt has a LoRA that changes its strength on the way."""
    model, generator = tiny.unet(), torch.Generator().manual_seed(4)
    lora = {}
    for key, weight in model.model.diffusion_model.state_dict().items():
        if key.endswith("to_q.weight"):
            plain = "lora_unet_" + key.removesuffix(".weight").replace(".", "_")
            lora[f"{plain}.lora_up.weight"] = torch.randn(weight.shape[0], 2, generator=generator)
            lora[f"{plain}.lora_down.weight"] = torch.randn(2, weight.shape[1], generator=generator)
    frames = comfy.hooks.HookKeyframeGroup()
    for strength, start, steps in zip((1.0, -1.0, 2.0), (0.0, 0.2, 0.5), guarantees):
        frames.add(comfy.hooks.HookKeyframe(strength, start, steps))
    hooks = comfy.hooks.create_hook_lora(lora, 1.0, 0.0)
    hooks.set_keyframes_on_hooks(frames)
    positive = comfy.hooks.set_hooks_for_conditioning(tiny.prompt(1), hooks)
    return Graph(
        model, positive, tiny.prompt(2), {"samples": torch.zeros(1, 4, 16, 16)}, sampler_name=name, steps=6
    )


@pytest.mark.parametrize("guarantees", [(1, 1, 1), (0, 0, 0), (1, 3, 1)], ids=str)
@pytest.mark.parametrize("name", ["euler", "dpm_2"])
@torch.inference_mode()
def test_hooks_with_keyframes_are_where_they_would_be(name, guarantees):
    graph = keyframed(guarantees, name)
    stock = equal_when_cut(graph, cuts=(1, 4), atol=1e-4)
    without = Graph(graph.model, tiny.prompt(1), graph.negative, graph.latent, sampler_name=name, steps=6)
    assert (stock - without.stock(SEED + 1)).abs().max() > 0.1


@torch.inference_mode()
def test_the_solver_sees_its_piece_only():
    given = []

    def sample_watching(model, x, sigmas, extra_args=None, callback=None, disable=None):
        given.append(sigmas.tolist())
        return comfy.samplers.k_diffusion_sampling.sample_euler(
            model, x, sigmas, extra_args, callback, disable
        )

    graph = Graph.mixture("EPS", own_sampler=comfy.samplers.KSAMPLER(sample_watching))
    evaluator = graph.evaluator(rows=1)
    asked = [
        Rollout(NoiseRecipe(1), stop=0.55),
        Rollout(NoiseRecipe(2), 0, 0.7, 0.3, steps=3),
        Rollout(parent=1),
    ]
    pieces = []
    for i, rollout in enumerate(asked):
        evaluator.cost(rollout, asked[rollout.parent] if rollout.parent is not None else None)
        given.clear()
        evaluated(evaluator, [rollout], first=i)
        pieces += given
    assert pieces == [list(evaluator.jobs[i].sigmas) for i in range(3)]


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_a_piece_from_pure_noise_begins_at_its_own_level(family):
    """As a stock run of the piece alone."""
    graph = Graph.mixture(family, latent={"samples": some_latent()})
    evaluator = graph.evaluator(rows=2)
    start = float(evaluator.schedule.times[2])
    evaluated(evaluator, [Rollout(NoiseRecipe(SEED + i), start=start) for i in range(2)])
    for i in range(2):
        noise = comfy.sample.prepare_noise(graph.latent["samples"], SEED + i)
        alone = graph.guider.sample(
            noise, graph.latent["samples"], graph.sampler, graph.sigmas[2:], seed=SEED + i, disable_pbar=True
        )
        torch.testing.assert_close(evaluator.shelf[i].latent, alone, atol=1e-4, rtol=0)


@given(
    family=st.sampled_from(sorted(FAMILIES)),
    steps=st.integers(1, 12),
    ends=st.lists(st.floats(0, 1), min_size=2, max_size=2),
    own=st.none() | st.integers(1, 5),
)
def test_a_piece_lies_in_the_whole_schedule(family, steps, ends, own):
    model = MODELS.setdefault(family, make_model(family))
    sampling = model.get_model_object("model_sampling")
    schedule = Schedule(
        comfy.samplers.calculate_sigmas(sampling, scheduler_for(family), steps), Levels(sampling)
    )
    try:
        piece = schedule.piece(max(ends), min(ends), own)
    except ValueError:  # nothing lies between
        return
    whole, place = schedule.around(piece)
    assert torch.equal(whole[place], piece)
    assert bool((whole[1:] < whole[:-1]).all())
    assert (float(whole[0]), float(whole[-1])) == schedule.ends
    outside = [
        sigma for sigma in schedule.sigmas.tolist() if not float(piece[-1]) <= sigma <= float(piece[0])
    ]
    assert sorted(outside + piece.tolist(), reverse=True) == whole.tolist()


MODELS = {}
