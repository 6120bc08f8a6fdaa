"""The pieces that a path search is made of: where they end, what noise they draw, what is shown of them."""

import comfy.sample
import comfy.samplers
import pytest
import torch
from graphs import Graph, evaluated, half_mask, some_latent
from noisesearch.sampling.levels import Levels
from noisesearch.session.progress import LiveProgress
from noisesearch.search.algorithms import SearchOverPaths
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Rollout


@torch.inference_mode()
def test_children_of_children_draw_noise_of_their_own():
    graph = Graph.mixture("EPS", sampler_name="euler_ancestral")
    evaluator = graph.evaluator(rows=4)
    evaluated(evaluator, [Rollout(NoiseRecipe(1), stop=0.5, score=False)])
    evaluated(
        evaluator,
        [Rollout(NoiseRecipe(1), 0, 0.7, 0.5, score=False), Rollout(parent=0, stop=0.3, score=False)],
        first=1,
    )
    seeds = [evaluator.jobs[i].seed for i in range(3)]
    assert len(set(seeds)) == 3 and seeds[0] == 1


MISSED = 0.2  # of the noise that belongs there: what stock samplers leave misses by less than 0.06, or by more than 0.29


def missed(graph, piece, spread, seed=0):
    """By what part a stock run of a piece of schedule misses the noise level at its end, from 16 samples that are right at its beginning.

    spread: of the data around one point. Where it is tiny, every sampler that goes where it is told is right in any number of steps.
    seed: of the sampler. The noise at the beginning is of seed 3; with the same one, old versions of ComfyUI draw it once more on a CPU.
    """
    mixture, levels = graph.model.mixture, Levels(graph.model.get_model_object("model_sampling"))
    before, generator = mixture.stds.clone(), torch.Generator().manual_seed(3)
    sampler, ends = graph.sampler, []
    run = sampler.sampler_function
    sampler.sampler_function = lambda *args, **kwargs: ends.append(run(*args, **kwargs)) or ends[-1]
    noise = torch.randn(
        16, 4, 8, 8, generator=generator
    )  # of the seed that the sampler gets too, as in every stock run
    clean = mixture.means[2].float() + spread * torch.randn(noise.shape, generator=generator)
    mixture.stds[:] = spread
    try:
        latent = graph.model.model.process_latent_out(clean)
        graph.guider.sample(noise, latent, sampler, piece, disable_pbar=True, seed=seed)
    finally:
        mixture.stds[:] = before
    a, b = levels.coefficients(piece[-1])
    left = float((ends[0].double() - a * mixture.means[2]).std())
    right = float((b**2 + (a * spread) ** 2).sqrt())
    return abs(left - right) / max(right, 0.1 * float(levels.coefficients(piece[0])[1]))


@pytest.mark.parametrize("family", ["EPS", "CONST"])
@pytest.mark.parametrize(
    "name", [name for name in comfy.samplers.SAMPLER_NAMES if name not in ("dpm_adaptive", "ddim")]
)
@torch.inference_mode()
def test_a_piece_ends_at_the_noise_it_is_asked_for_or_is_refused(name, family):
    """By what is left in the latents of one component of the mixture, three pieces down a lineage. Which samplers end elsewhere
    (it changes from version to version) is found by running them as stock does."""
    graph = Graph.mixture(family, sampler_name=name, steps=30, cfg=1.0)
    evaluator, mixture = graph.evaluator(rows=16), graph.model.mixture
    piece = evaluator.schedule.piece
    if max(missed(graph, piece(*ends), 1e-3) for ends in ((0.7, 0.25, 6), (0.5, 0.0))) > MISSED:
        graph.model.spy.reset()
        with pytest.raises(ValueError, match="The sampler .* cannot be used for a piece"):
            graph.search(SearchOverPaths(2), candidates=8)
        assert graph.model.spy.calls == 0 and graph.search(candidates=2).seed in (11, 12)
        return
    if missed(graph, piece(0.93, 0.5, 1), 1e-3) > MISSED:
        with pytest.raises(ValueError, match="The sampler .* cannot be used for a piece"):
            graph.search(SearchOverPaths(2, steps=1), candidates=8)
    pieces = [(None, 0.75, None), (0.93, 0.5, 6), (0.7, 0.25, 6)]
    for number, (start, stop, steps) in enumerate(pieces):
        rollouts = [
            Rollout(
                NoiseRecipe(100 * number + i),
                None if number == 0 else 16 * (number - 1) + i,
                start,
                stop,
                steps,
                score=False,
            )
            for i in range(16)
        ]
        evaluated(evaluator, rollouts, first=16 * number)
        x = torch.cat([evaluator.shelf[16 * number + i].state for i in range(16)]).double()
        a, b = evaluator.schedule.levels.coefficients(piece(None, stop)[-1])
        spread = float((x - a * mixture.means[2]).std() / (b**2 + (a * mixture.stds[2]) ** 2).sqrt())
        if abs(spread - 1) > 0.15:  # too few steps for this sampler: a stock run is about as far off
            seed = 3 if number == 0 else 0  # the first piece begins as a stock run does
            allowed = 0.15 + missed(graph, piece(start, stop, steps), float(mixture.stds[2]), seed)
            assert spread == pytest.approx(1.0, abs=allowed), stop


def test_samplers_that_end_elsewhere_are_known():
    """So that the test above cannot pass by refusing nothing, or everything."""
    with torch.inference_mode():
        graphs = {
            name: Graph.mixture("EPS", sampler_name=name, steps=30, cfg=1.0) for name in ("euler", "dpm_fast")
        }
        found = {
            name: missed(graph, graph.evaluator().schedule.piece(0.5), 1e-3) for name, graph in graphs.items()
        }
    assert found["euler"] < 0.06 and found["dpm_fast"] > 0.29


@torch.inference_mode()
def test_every_path_and_every_child_draws_noise_of_its_own():
    image = Graph.mixture("CONST").search(SearchOverPaths(3, 3), budget_nfe=600).report["images"][0]
    seeds = [c["noise"]["seed"] for c in image["candidates"]]
    assert len(set(seeds)) == len(seeds) == 3 + 3 * 9


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("preview", ["extra evaluation", "free"])
@torch.inference_mode()
def test_the_verifier_sees_the_clean_prediction_as_the_vae_shows_it(preview, masked):
    """At the level where the piece stopped (the paper), or of the solver's last step; under a mask the input shows."""
    latent = {"samples": some_latent(), **({"noise_mask": half_mask()} if masked else {})}
    graph = Graph.mixture("EPS", latent=latent, steps=8)
    evaluator = graph.evaluator(
        rows=1,
        preview=preview,
        decode=lambda latents: latents,
        judge=lambda images, ids, early: seen.append(images) or [(0.0,)] * len(images),
    )
    seen, states = [], {}
    evaluated(evaluator, [Rollout(NoiseRecipe(5), stop=0.4)])

    def watch(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for here, there in zip(sigmas[:-1], sigmas[1:]):
            states["last"] = model(x, here * x.new_ones([1]), **extra_args)
            x = x + (x - states["last"]) / here * (there - here)
        states["extra"] = model(x, sigmas[-1] * x.new_ones([1]), **extra_args)
        return x

    graph.guider.sample(
        comfy.sample.prepare_noise(graph.latent["samples"], 5),
        graph.latent["samples"],
        comfy.samplers.KSAMPLER(watch),
        evaluator.schedule.piece(None, 0.4),
        denoise_mask=graph.latent.get("noise_mask"),
        seed=5,
        disable_pbar=True,
    )
    expected = graph.model.model.process_latent_out(
        states["extra" if preview == "extra evaluation" else "last"]
    )
    torch.testing.assert_close(seen[0], expected, atol=1e-4, rtol=0)
    assert (states["extra"] - states["last"]).abs().max() > 1e-3
    if masked:
        torch.testing.assert_close(seen[0][..., 4:], graph.latent["samples"][..., 4:], atol=1e-4, rtol=0)


@torch.inference_mode()
def test_the_best_preview_is_shown_on_the_way(monkeypatch):
    shown = []
    monkeypatch.setattr(LiveProgress, "best", lambda self, nfe, text, image: shown.append((text, image)))
    image = (
        Graph.mixture("CONST").search(SearchOverPaths(2, 2), budget_nfe=300, batch_size=4).report["images"][0]
    )
    assert ["on the way · best preview" in text for text, _ in shown] == [True, True, False]
    first = max(image["candidates"][i]["scores"][0] for i in image["rounds"][1])
    assert f"{first:.3g}" in shown[0][0] and all(picture.shape == (1, 8, 8, 3) for _, picture in shown)


@pytest.mark.parametrize("family", ["EPS", "CONST"])
@torch.inference_mode()
def test_a_cut_at_a_level_of_the_schedule_changes_nothing(family):
    """What `Terms.levels` names: at each of them a sample of a single-step solver is cut and goes on as if it had not been."""
    graph = Graph.mixture(family)
    whole = graph.stock(5)
    levels = graph.evaluator().levels
    assert (
        len(levels) == graph.steps + 1 and levels[-1] == 0.0 and list(levels) == sorted(levels, reverse=True)
    )
    for level in levels[1:-1]:
        evaluator = graph.evaluator()
        first = Rollout(NoiseRecipe(5), stop=level, score=False)
        cost = evaluator.cost(first, None) + evaluator.cost(Rollout(parent=0), first)
        assert cost == graph.steps
        evaluated(evaluator, [first])
        evaluated(evaluator, [Rollout(parent=0)], 1)
        torch.testing.assert_close(evaluator.shelf[1].latent, whole, atol=1e-5, rtol=0)
