"""Noise on the conditioning: by hand, row by row in a batch, only in the first steps, in recipes; and how alike candidates are."""

import comfy.sample
import comfy.samplers
import pytest
import torch
from closed_form import cond
from graphs import Graph, evaluated, half_mask, some_latent
from noisesearch.nodes.early_searches import NoiseSearchVaryConditioning
from noisesearch.sampling.spread import Spread
from noisesearch.sampling.varying import Varying, varied
from noisesearch.session import run as session_run
from noisesearch.search.algorithms import (
    Auto,
    RandomSearch,
    Replay,
    SearchOverPaths,
    SeedPruning,
    Varied,
    ZeroOrder,
)
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Recipe, Rollout, recipes_from_json, recipes_to_json

LOGITS = torch.tensor([3.0, -2.0, 4.0, 1.0])


def prompted(**settings):
    return Graph.mixture(settings.pop("family", "CONST"), cond(LOGITS), **settings)


def tokens_of(graph, seed, strength, index=0):
    """The varied conditioning of a seed, as its candidates get it."""
    varying = Varying(graph.sigmas, graph.model.get_model_object("model_sampling"), index)
    guider = varying.guider(graph.guider, [NoiseRecipe(seed, vary=(strength, 1.0))])
    return guider.original_conds["positive"][0]["cross_attn"]


# -- the noise -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.1, 1.0, 3.0])
def test_each_token_keeps_its_length_and_is_turned_by_the_angle(strength):
    generator = torch.Generator().manual_seed(1)
    tokens, noise = (torch.randn(1, 7, 32, generator=generator) for _ in range(2))
    tokens[:, 2] *= 100
    tokens[:, 5] = 0
    turned = varied(tokens, noise, strength)
    torch.testing.assert_close(turned.norm(dim=-1), tokens.norm(dim=-1))
    cosines = torch.nn.functional.cosine_similarity(turned, tokens, dim=-1)[0]
    assert torch.allclose(cosines[[0, 1, 2, 3, 4, 6]], torch.tensor((1 + strength**2) ** -0.5), atol=1e-5)
    assert (turned[:, 5] == 0).all() and turned.dtype == tokens.dtype


def test_neighbouring_noises_have_neighbouring_prompts_and_samples_of_a_batch_their_own():
    graph = prompted()
    shape = torch.zeros(1, 8, 512)
    graph.positive = [[torch.randn(shape.shape, generator=torch.Generator().manual_seed(0)), {}]]
    varying = Varying(graph.sigmas, None, 0)

    def turned(recipe):
        return varying.guider(graph.guider, [recipe]).original_conds["positive"][0]["cross_attn"].flatten()

    root = NoiseRecipe(3, vary=(1.0, 1.0))
    near, far, again = (turned(one) for one in (root.move(9, 0.95), root.move(9, 0.0), root))
    here = turned(root)
    assert torch.equal(here, again)
    assert (here - near).norm() < 0.5 * (here - far).norm()
    assert not torch.equal(here, tokens_of(graph, 3, 1.0, index=1).flatten())


def test_the_negative_prompt_stays():
    graph = prompted()
    varying = Varying(graph.sigmas, None, 0)
    guider = varying.guider(graph.guider, [NoiseRecipe(3, vary=(0.5, 1.0))])
    (negative,), (before,) = (one.original_conds["negative"] for one in (guider, graph.guider))
    assert torch.equal(negative["cross_attn"], before["cross_attn"])
    assert not torch.equal(tokens_of(graph, 3, 0.5), graph.positive[0][0])


# -- samples -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["EPS", "CONST"])
@torch.inference_mode()
def test_varied_all_the_way_is_a_stock_run_with_that_conditioning(family):
    graph = prompted(family=family)
    evaluator = graph.evaluator(rows=3)
    evaluated(evaluator, [Rollout(NoiseRecipe(7 + i, vary=(0.4, 1.0))) for i in range(3)])
    for i in range(3):
        own = prompted(family=family)
        own.positive = [[tokens_of(graph, 7 + i, 0.4), {}]]
        torch.testing.assert_close(evaluator.shelf[i].latent, own.stock(7 + i), atol=1e-4, rtol=0)
        assert (graph.stock(7 + i) - evaluator.shelf[i].latent).abs().max() > 1e-3


@pytest.mark.parametrize("share, steps", [(0.5, 3), (0.3, 2), (0.01, 1)])
@torch.inference_mode()
def test_only_the_first_part_of_the_steps_is_varied(share, steps):
    """A stock run by hand: the first steps with the varied conditioning, the rest with the user's."""
    graph = prompted()
    evaluator = graph.evaluator(rows=2)
    evaluated(evaluator, [Rollout(NoiseRecipe(7 + i, vary=(0.8, share))) for i in range(2)])
    for i in range(2):
        own = prompted()
        own.positive = [[tokens_of(graph, 7 + i, 0.8), {}]]
        noise = comfy.sample.prepare_noise(graph.latent["samples"], 7 + i)
        sampler, empty = graph.sampler, torch.zeros_like(noise)
        half = own.guider.sample(
            noise, graph.latent["samples"], sampler, graph.sigmas[: steps + 1], disable_pbar=True
        )
        whole = graph.guider.sample(empty, half, sampler, graph.sigmas[steps:], disable_pbar=True)
        torch.testing.assert_close(evaluator.shelf[i].latent, whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"family": "V_PREDICTION", "sampler_name": "dpmpp_2m"},
        {"sampler_name": "euler_ancestral"},
        {"cfg": 1.0},
        {"latent": {"samples": some_latent(), "noise_mask": half_mask()}},
        {"latent": {"samples": some_latent(shape=(4, 3, 8, 8))}, "dims": 3, "denoise": 0.7},
    ],
    ids=lambda settings: ", ".join(settings) or "plain",
)
@torch.inference_mode()
def test_in_a_batch_each_candidate_is_what_it_is_alone(settings):
    graph = prompted(**settings)
    together, alone = graph.evaluator(rows=4), graph.evaluator(rows=1)
    rollouts = [Rollout(NoiseRecipe(7 + i, vary=(0.4, 0.5))) for i in range(3)] + [Rollout(NoiseRecipe(7))]
    for evaluator in (together, alone):
        evaluated(evaluator, rollouts)
    assert max(graph.model.spy.batches) >= 3
    for i in range(4):
        torch.testing.assert_close(together.shelf[i].latent, alone.shelf[i].latent, atol=1e-4, rtol=0)
    torch.testing.assert_close(together.shelf[3].latent, graph.stock(7), atol=1e-4, rtol=0)  # its own kind
    assert (together.shelf[0].latent - together.shelf[3].latent).abs().max() > 1e-4


@torch.inference_mode()
def test_a_time_range_that_the_user_set_stays():
    """The second prompt takes over at half of the model's time; both are varied while they are in force."""
    graph = prompted()
    first, second = ({"start_percent": 0.0, "end_percent": 0.5}, {"start_percent": 0.5, "end_percent": 1.0})
    graph.positive = [[cond(LOGITS)[0][0], first], [cond(-LOGITS)[0][0], second]]
    varying = Varying(graph.sigmas, graph.model.get_model_object("model_sampling"), 0)
    conds = varying.guider(graph.guider, [NoiseRecipe(7, vary=(1e-7, 0.8))]).original_conds["positive"]
    assert len(conds) == 4 and not any("start_percent" in one or "end_percent" in one for one in conds)
    until = conds[0]["timestep_end"], conds[1]["timestep_start"]
    assert until == (0.5, pytest.approx(float(graph.sigmas[4] + graph.sigmas[5]) / 2))
    evaluator = graph.evaluator()
    evaluated(evaluator, [Rollout(NoiseRecipe(7, vary=(1e-7, 0.8)))])
    torch.testing.assert_close(evaluator.shelf[0].latent, graph.stock(7), atol=1e-3, rtol=0)


@torch.inference_mode()
def test_a_model_without_tokens_is_refused():
    graph = prompted()
    graph.positive = [[None, {}]]
    with pytest.raises(ValueError, match="not prompted by tokens"):
        Varying(graph.sigmas, None, 0).guider(graph.guider, [NoiseRecipe(7, vary=(0.4, 0.5))])


VARIED = NoiseRecipe(7, vary=(0.4, 0.5))


@pytest.mark.parametrize(
    "search",
    [Varied(RandomSearch()), Varied(Auto()), Replay((Recipe((Rollout(VARIED),)),)), ZeroOrder(around=VARIED)],
    ids=lambda one: one.name,
)
@torch.inference_mode()
def test_a_search_that_cannot_vary_is_refused_before_it_begins(search, monkeypatch):
    graph = prompted()
    graph.positive = [[None, {}]]
    monkeypatch.setattr(session_run, "run", lambda *_: pytest.fail("the search has begun"))
    with pytest.raises(ValueError, match="not prompted by tokens"):
        graph.search(search, candidates=4)


# -- searches and recipes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inner", [RandomSearch(), ZeroOrder(2), SeedPruning(), SearchOverPaths(2, 2)], ids=lambda one: one.name
)
@torch.inference_mode()
def test_every_search_can_vary_and_its_recipe_gives_the_image_again(inner):
    graph = prompted()
    found = graph.search(Varied(inner, 0.4), budget_nfe=150, batch_size=3)
    text = recipes_to_json(found.recipes)
    recipe = recipes_from_json(text)[0]
    assert recipe == found.recipes[0] and recipe.version == 2 and recipe.root.vary == (0.4, 0.5)
    assert '"noise_search": 2' in text and not recipe.is_a_seed
    again = graph.search(Replay((recipe,)))
    torch.testing.assert_close(again.latent["samples"], found.latent["samples"], atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="conditioning of this image was varied"):
        found.noise().generate_noise(graph.latent)
    assert found.report["search"]["vary_conditioning"] == {"strength": 0.4, "share": 0.5}


def test_off_it_leaves_recipes_as_they_were():
    recipe = Recipe((Rollout(NoiseRecipe(7)),))
    assert recipe.version == 1 and "vary" not in recipes_to_json([recipe])
    assert repr(NoiseRecipe(7)) == "NoiseRecipe(seed=7, moves=(), mix=())"


@pytest.mark.parametrize(
    "vary", ["[0.3]", "[0.3, 0.5, 1]", "[0, 0.5]", "[-1, 0.5]", "[0.3, 0]", "[0.3, 1.5]", "[11, 0.5]", '"0.3"', "[1e999, 0.5]", "{}", "[true, 0.5]"]
)  # fmt: skip
def test_damaged_recipes_are_refused(vary):
    with pytest.raises(ValueError, match="damaged|not JSON"):
        recipes_from_json('{"noise_search": 2, "pieces": [{"noise": {"seed": 7, "vary": ' + vary + "}}]}")


def test_version_one_cannot_say_it_nor_can_the_direction_of_a_move():
    with pytest.raises(ValueError, match="vary"):
        recipes_from_json('{"noise_search": 1, "pieces": [{"noise": {"seed": 7, "vary": [0.3, 0.5]}}]}')
    inner = '{"seed": 8, "vary": [0.3, 0.5]}'
    with pytest.raises(ValueError, match="vary"):
        recipes_from_json(
            '{"noise_search": 2, "pieces": [{"noise": {"seed": 7, "moves": [[' + inner + ", 0.5]]}}]}"
        )


def test_moves_and_crossings_keep_it():
    noise = NoiseRecipe(7, vary=(0.3, 0.5))
    assert noise.move(9, 0.5).vary == noise.cross(NoiseRecipe(8), 0.6).vary == (0.3, 0.5)


def test_the_node():
    search = NoiseSearchVaryConditioning.execute(0.4, 0.25).result[0]
    assert search == Varied(RandomSearch(), 0.4, 0.25)
    assert NoiseSearchVaryConditioning.execute(0.4, 0.25, ZeroOrder()).result[0].inner == ZeroOrder()
    for wrong in (search, Replay((Recipe((Rollout(NoiseRecipe(7)),)),))):
        with pytest.raises(ValueError, match="Vary Conditioning only|Remake Winner"):
            NoiseSearchVaryConditioning.execute(0.4, 0.25, wrong)


# -- spread --------------------------------------------------------------------------------------------------------------


def spread_of(images):
    spread = Spread()
    for image in images:
        spread.add(image)
    return spread.share


def test_the_share_of_variance_between_candidates():
    picture, other = torch.rand(2, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    assert spread_of([picture] * 3) is None
    assert spread_of([picture] * 5) == pytest.approx(0.0, abs=1e-9)
    assert spread_of([torch.full((8, 8, 3), 0.5)] * 4) == 0.0
    flat = [torch.full((8, 8, 3), level) for level in (0.0, 1.0, 0.0, 1.0)]
    assert spread_of(flat) == pytest.approx(1.0)
    assert spread_of([picture, other] * 3) == pytest.approx(
        0.5, abs=0.05
    )  # half of it is common to two unrelated ones
    assert spread_of([*[picture] * 4, picture * torch.nan]) == pytest.approx(0.0, abs=1e-9)


def test_a_video_counts_by_the_mean_of_its_frames_without_a_copy_of_it(monkeypatch):
    videos = torch.rand(5, 6, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    assert spread_of(videos) == pytest.approx(spread_of(videos.double().mean(1)), abs=1e-6)
    assert spread_of(videos.half()) == pytest.approx(spread_of(videos), abs=1e-3)
    largest = []
    for name in ("double", "float", "to"):
        real = getattr(torch.Tensor, name)

        def copied(self, *args, _real=real, **options):
            largest.append(self.numel())
            return _real(self, *args, **options)

        monkeypatch.setattr(torch.Tensor, name, copied)
    Spread().add(videos[0])
    assert max(largest) == videos[0, 0].numel()


@torch.inference_mode()
def test_what_cannot_be_counted_costs_no_search(monkeypatch):
    def broken(*_):
        raise RuntimeError("no such size")

    monkeypatch.setattr(torch.nn.functional, "adaptive_avg_pool2d", broken)
    report = Graph.mixture("CONST").search(candidates=6).report
    assert "spread" not in report["images"][0] and len(report["images"][0]["ranking"]) == 6
    (note,) = [note for note in report["notes"] if "no such size" in note]
    assert note == "How different the candidates look was not measured (RuntimeError: 'no such size')."


@torch.inference_mode()
def test_candidates_that_are_all_alike_are_told_and_varying_helps():
    """A prompt so strong that all seeds come to one mode, whose samples are made nearly the same."""
    graph = Graph.mixture("CONST", cond(1000 * torch.tensor([0.0, 0.0, 1.0, 0.0])))
    graph.model.mixture.stds[:] = 1e-3
    alike = graph.search(candidates=8)
    assert alike.report["images"][0]["spread"] < 0.01
    assert any("look alike" in note for note in alike.report["notes"])
    several = graph.search(Varied(RandomSearch(), 3.0, 1.0), candidates=8)
    assert several.report["images"][0]["spread"] > 0.2
    assert not any("look alike" in note for note in several.report["notes"])


@torch.inference_mode()
def test_relatives_are_not_counted():
    """Neighbours are meant to be alike."""
    for search in (ZeroOrder(2, 0.99), SearchOverPaths(2, 2)):
        assert "spread" not in Graph.mixture("CONST").search(search, budget_nfe=100).report["images"][0]
    assert "spread" in Graph.mixture("CONST").search(SeedPruning(), candidates=8).report["images"][0]
