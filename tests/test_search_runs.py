"""A search from end to end on the closed-form model: winners reproduce, whatever the batch size; bad input is refused before anything runs."""

import comfy.sample
import comfy.samplers
import pytest
import torch
from closed_form import PixelVAE, TargetVerifier, cond, one_hot
from graphs import Graph, half_mask, some_latent
from noisesearch.nodes.candidates import NoiseSearchCandidates, NoiseSearchFromRecipe, NoiseSearchScoreImages
from noisesearch.session.noises import RecipeNoise, seed_of
from noisesearch.nodes.search import NoiseSearchKSampler
from noisesearch.search.algorithms import RandomSearch, SearchOverPaths, ZeroOrder
from noisesearch.nodes.searches import NoiseSearchZeroOrder
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Recipe, Rollout, recipes_from_json, recipes_to_json
from noisesearch.verifiers.base import Verifier
from noisesearch.verifiers.ensemble import Ensemble

CASES = {
    "txt2img": {},
    "img2img": {"latent": {"samples": some_latent()}, "denoise": 0.5},
    "mask": {"latent": {"samples": some_latent(), "noise_mask": half_mask()}},
    "ancestral": {"sampler_name": "euler_ancestral"},
    "brownian": {"sampler_name": "dpmpp_2m_sde"},
}


@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_a_random_search_winner_is_the_stock_image_of_its_seed(case):
    graph = Graph.mixture("EPS", **CASES[case])
    found = graph.search(RandomSearch(), candidates=9, batch_size=4)
    torch.testing.assert_close(found.latent["samples"], graph.stock(found.seed), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.images, PixelVAE().decode(found.latent["samples"]))


@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_a_zero_order_winner_comes_back_through_its_recipe(case):
    graph = Graph.mixture("CONST", **CASES[case])
    found = graph.search(ZeroOrder(3, 0.8), candidates=10, batch_size=4)
    recipe = recipes_to_json(found.recipes)
    noise = NoiseSearchFromRecipe.execute(recipe).result[0]
    assert recipes_from_json(recipe)[0].pieces[0].noise.moves, "the search never moved"
    latent = graph.latent["samples"]
    stock = graph.guider.sample(
        noise.generate_noise(graph.latent),
        latent,
        graph.sampler,
        graph.sigmas,
        denoise_mask=graph.latent.get("noise_mask"),
        seed=noise.seed,
        disable_pbar=True,
    )
    torch.testing.assert_close(found.latent["samples"], stock, atol=1e-4, rtol=0)


@pytest.mark.parametrize("search", [RandomSearch(), ZeroOrder(5, 0.7)], ids=["random", "zero-order"])
@torch.inference_mode()
def test_the_winner_does_not_depend_on_the_batch_size(search):
    found = [Graph.mixture("CONST").search(search, candidates=16, batch_size=rows) for rows in (1, 3, 16)]
    assert found[0].recipes == found[1].recipes == found[2].recipes
    for other in found[1:]:
        torch.testing.assert_close(found[0].images, other.images, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_one_candidate_is_the_plain_ksampler():
    graph = Graph.mixture("V_PREDICTION", sampler_name="dpmpp_2m")
    found = graph.search(candidates=1, seed=3)
    torch.testing.assert_close(found.latent["samples"], graph.stock(3), atol=1e-6, rtol=0)
    assert found.seed == 3 and found.report["totals"]["nfe"] == graph.steps


@torch.inference_mode()
def test_a_schedule_that_ends_in_noise_is_judged_by_its_clean_prediction():
    """The high-noise half of a two-model workflow: the latent is what the stock sampler hands on, the picture its denoised output."""
    graph = Graph.mixture("EPS")
    half = graph.sigmas[:4]
    found = graph.search(candidates=4, sigmas=half)
    noise = comfy.sample.prepare_noise(graph.latent["samples"], found.seed)
    last = {}
    stock = graph.guider.sample(
        noise,
        graph.latent["samples"],
        graph.sampler,
        half.clone(),
        callback=lambda i, x0, x, n: last.update(x0=x0),
        seed=found.seed,
        disable_pbar=True,
    )
    torch.testing.assert_close(found.latent["samples"], stock, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        found.denoised["samples"], graph.model.model.process_latent_out(last["x0"]), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(found.images, PixelVAE().decode(found.denoised["samples"]))


@torch.inference_mode()
def test_held_out_verifiers_are_reported_and_never_choose():
    target = PixelVAE().decode(some_latent(seed=1))[0]
    judge, witness = TargetVerifier(target), TargetVerifier(1 - target)
    graph = Graph.mixture("CONST")
    alone = graph.search(candidates=8, verifier=judge)
    both = graph.search(candidates=8, verifier=Ensemble((judge,), (1.0,), held_out=witness))
    assert both.recipes == alone.recipes
    image = both.report["images"][0]
    assert all(c["held_out"] is not None for c in image["candidates"])
    assert image["winner"]["held_out"] == image["candidates"][image["winner"]["id"]]["held_out"]


@torch.inference_mode()
def test_a_verifier_that_only_reports_may_fail_to_judge():
    judge = TargetVerifier(PixelVAE().decode(some_latent(seed=1))[0])
    alone = Graph.mixture("CONST").search(candidates=4, verifier=judge)
    both = Graph.mixture("CONST").search(candidates=4, verifier=Ensemble((NotANumber(), judge), (0.0, 1.0)))
    assert both.recipes == alone.recipes and both.report["notes"] == []
    assert any(
        "could not be judged" in note
        for note in Graph.mixture("CONST").search(candidates=4, verifier=NotANumber()).report["notes"]
    )


@torch.inference_mode()
def test_the_score_is_that_of_the_first_verifier_that_counts():
    judge, other = (
        TargetVerifier(PixelVAE().decode(some_latent(seed=1))[0]),
        TargetVerifier(PixelVAE().decode(some_latent(seed=2))[0]),
    )
    found = Graph.mixture("CONST").search(candidates=4, verifier=Ensemble((other, judge), (0.0, 1.0)))
    assert (
        found.scores[0]
        == found.report["images"][0]["winner"]["scores"][1]
        == max(c["scores"][1] for c in found.report["images"][0]["candidates"])
    )


# -- bad input: a clear message, and nothing half done ---------------------------------------------------------------


class Raising(Verifier):
    name = "a broken judge"

    def score(self, batch):
        raise KeyError("no such thing")


class Miscounting(Verifier):
    name = "a miscounting judge"

    def score(self, batch):
        return torch.zeros(len(batch.images) + 1)


class NotANumber(Verifier):
    name = "a judge of even seeds"

    def score(self, batch):
        scores = batch.images.flatten(1).mean(1)
        scores[::2] = torch.nan
        return scores


@torch.inference_mode()
def test_a_verifier_that_raises_stops_the_search_and_is_named():
    with pytest.raises(RuntimeError, match="a broken judge.*no such thing"):
        Graph.mixture("CONST").search(verifier=Raising())
    with pytest.raises(RuntimeError, match="a miscounting judge.*must give one each"):
        Graph.mixture("CONST").search(verifier=Miscounting())


@torch.inference_mode()
def test_nan_scores_rank_last_and_are_reported():
    found = Graph.mixture("CONST").search(candidates=8, verifier=NotANumber(), batch_size=8)
    assert "4 of 8 candidates could not be judged" in " ".join(found.report["notes"])
    assert found.report["images"][0]["winner"]["id"] % 2 == 1
    assert sum(c["scores"][0] is None for c in found.report["images"][0]["candidates"]) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verifier": None}, "needs a verifier"),
        ({"vae": None}, "input vae takes VAE, but was given nothing"),
        ({"sampler_name": "dpm_adaptive"}, "dpm_adaptive"),
        ({"latent": {"samples": torch.ones(1, 3, 8, 8)}}, "latents of 4 channels"),
        ({"latent": {"samples": torch.zeros(4, 8, 8)}}, "latents of 4 channels"),
        ({"latent": {"samples": torch.zeros(1, 4, 8, 8), "noise_mask": torch.ones(8)}}, "noise mask"),
        ({"latent": {"samples": torch.zeros(2, 4, 8, 8), "batch_index": [1]}}, "batch_index"),
        ({"denoise": 0.0}, "at least 2 sigmas"),
        ({"candidates": 0}, "candidates must be from 1 to 10000, but is 0"),
        ({"budget_nfe": 5}, "budget of 5 NFE does not pay.*takes 6"),
        ({"seed": -1}, "seed must be from 0 to"),
    ],
)
@torch.inference_mode()
def test_bad_input_is_refused_before_anything_runs(change, message):
    graph = Graph.mixture("CONST")
    wishes = {"candidates": 4, "keep_top": 1}
    vae = PixelVAE()
    given = {"verifier": TargetVerifier(vae.decode(some_latent(seed=1))[0]), "vae": vae, "seed": 1, **change}
    wishes |= {k: v for k, v in given.items() if k in ("candidates", "budget_nfe")}
    latent = given.get("latent", graph.latent)
    with pytest.raises(ValueError, match=message):
        NoiseSearchKSampler.execute(
            graph.model,
            given["seed"],
            6,
            4.0,
            given.get("sampler_name", "euler"),
            "simple",
            graph.positive,
            graph.negative,
            latent,
            given.get("denoise", 1.0),
            given["vae"],
            verifier=given["verifier"],
            prompt="x",
            **wishes,
        )
    assert graph.model.spy.calls == 0


@pytest.mark.parametrize(
    "sigmas",
    [torch.tensor([]), torch.tensor([1.0]), torch.tensor([0.2, 0.5, 0.0])],
    ids=["none", "one", "rising"],
)
@torch.inference_mode()
def test_sigmas_that_are_no_schedule(sigmas):
    with pytest.raises(ValueError, match="sigmas"):
        Graph.mixture("CONST").search(sigmas=sigmas)


@torch.inference_mode()
def test_nested_latents_are_refused():
    packs = pytest.importorskip("comfy.nested_tensor", reason="packs of latents came with ComfyUI 0.3.67")
    NestedTensor = packs.NestedTensor

    graph = Graph.mixture(
        "CONST", latent={"samples": NestedTensor([torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8)])}
    )
    with pytest.raises(ValueError, match="pack of several latents"):
        graph.search()


def test_stop_at_score_needs_a_score_with_a_meaning_of_its_own():
    verifier = Ensemble((NotANumber(), Raising()), (1.0, 1.0))
    with pytest.raises(ValueError, match="stop_at_score"):
        Graph.mixture("CONST").search(verifier=verifier, stop_at_score=0.5)


@torch.inference_mode()
def test_a_noise_without_a_seed_is_refused():
    from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, Noise_RandomNoise

    class Perlin:
        seed = 7

        def generate_noise(self, latent):
            return torch.ones_like(latent["samples"])

    latent = {"samples": torch.zeros(2, 4, 8, 8)}
    assert seed_of(Noise_RandomNoise(9), latent) == 9
    for noise in (Noise_EmptyNoise(), Perlin()):
        with pytest.raises(ValueError, match="not a plain seeded noise"):
            seed_of(noise, latent)


# -- the smaller nodes -----------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_noise_candidates():
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise

    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    noises, recipes = NoiseSearchCandidates.execute(latent, 5, 3, 0.9).result
    for i, noise in enumerate(noises):
        assert torch.equal(noise.generate_noise(latent), comfy.sample.prepare_noise(latent["samples"], 5 + i))
    centre = Noise_RandomNoise(9)
    noises, recipes = NoiseSearchCandidates.execute(latent, 5, 3, 0.9, centre).result
    x = centre.generate_noise(latent).flatten().double()
    for noise, recipe in zip(noises, recipes, strict=True):
        y = noise.generate_noise(latent)
        assert torch.nn.functional.cosine_similarity(x, y.flatten().double(), dim=0).item() == pytest.approx(
            0.9, abs=1e-6
        )
        assert torch.equal(y, RecipeNoise(recipes_from_json(recipe)).generate_noise(latent))
    again = NoiseSearchCandidates.execute(latent, 1, 1, 0.5, noises[0]).result[0][0]
    assert len(again.recipes[0].pieces[0].noise.moves) == 2


@torch.inference_mode()
def test_score_images_sorts_filters_and_keeps_mixed_sizes_apart():
    target = torch.zeros(8, 8, 3)

    class Brightness(Verifier):
        name = "brightness"

        def score(self, batch):
            return batch.images.flatten(1).mean(1)

    images = [torch.full((2, 8, 8, 3), 0.2), torch.full((1, 8, 12, 3), 0.9), torch.full((1, 8, 8, 3), 0.5)]
    images[0][1] = 0.7
    for batch in images:  # a picture, not one flat colour, which the sanity gate would reject
        batch[:, :4] += 0.05
        batch[:, 4:] -= 0.05
    latents = [{"samples": torch.arange(4.0).view(4, 1, 1, 1)}]
    kept, kept_latents, rejected, scores, indices, report = NoiseSearchScoreImages.execute(
        images, [Brightness()], [""], [2], [0.4], latents
    ).result
    assert indices == [2, 1] and scores == pytest.approx([0.9, 0.7])
    assert [tuple(image.shape) for image in kept] == [(1, 8, 12, 3), (1, 8, 8, 3)]
    assert [float(latent["samples"]) for latent in kept_latents] == [2.0, 1.0]
    assert [float(image.mean()) for image in rejected] == pytest.approx([0.5, 0.2])
    assert report["order"] == [2, 1, 3, 0] and len(report["images"]) == 4
    with pytest.raises(ValueError, match="4 images came with 1 latents"):
        NoiseSearchScoreImages.execute(images, [Brightness()], [""], [2], [0.4], [{"samples": target[None]}])
    with pytest.raises(ValueError, match="one prompt, but got 2 different"):
        NoiseSearchScoreImages.execute(images, [Brightness()], ["a cat", "a dog"], [2], [0.4])

    class Grudging(Brightness):
        def score(self, batch):
            return torch.where(super().score(batch) > 0.6, -1e7, torch.nan)

    reported_only = Ensemble((Grudging(), Brightness()), (0.0, 1.0))
    assert NoiseSearchScoreImages.execute(images, [reported_only], [""], [0], [0.4]).result[4] == [2, 1, 3]
    assert NoiseSearchScoreImages.execute(images, [Grudging()], [""], [0], [-1e6]).result[4] == [
        1,
        2,
    ]  # no minimum; what cannot be judged is rejected


@torch.inference_mode()
def test_counting_ksampler_equals_stock_and_counts():
    from noisesearch.nodes.samplers import NoiseSearchCountNFE

    graph = Graph.mixture(
        "CONST",
        sampler_name="heun",
        latent={"samples": some_latent(2), "noise_mask": half_mask()},
        denoise=0.6,
    )
    expected = graph.stock(4)
    graph.model.spy.reset()
    latent, nfe, rows = NoiseSearchCountNFE.execute(
        graph.model,
        4,
        graph.steps,
        graph.cfg,
        "heun",
        "simple",
        graph.positive,
        graph.negative,
        graph.latent,
        0.6,
    ).result
    torch.testing.assert_close(latent["samples"], expected)
    assert rows == graph.model.spy.rows == 2 * nfe and nfe == 2 * (2 * graph.steps - 1)


@torch.inference_mode()
def test_path_search_needs_a_schedule_that_ends_clean():
    graph = Graph.mixture("EPS")
    with pytest.raises(ValueError, match="ends in a clean image"):
        graph.search(SearchOverPaths(2), sigmas=graph.sigmas[:4])


@pytest.mark.parametrize("guider", ["basic", "dual"])
@torch.inference_mode()
def test_other_guiders(guider):
    from comfy_extras.nodes_custom_sampler import Guider_Basic, Guider_DualCFG

    graph = Graph.mixture("CONST")
    if guider == "basic":
        made = Guider_Basic(graph.model)
        made.set_conds(graph.positive)
    else:
        made = Guider_DualCFG(graph.model)
        made.set_conds(graph.positive, cond(one_hot(1)), graph.negative)
        made.set_cfg(3.0, 2.0)
    for search in (RandomSearch(), SearchOverPaths(2)):
        found = graph.search(search, guider=made, budget_nfe=120, batch_size=3)
        assert found.report["totals"]["network_rows"] == graph.model.spy.rows
        graph.model.spy.reset()
    found = graph.search(RandomSearch(), guider=made, candidates=4, batch_size=4)
    noise = comfy.sample.prepare_noise(graph.latent["samples"], found.seed)
    stock = made.sample(
        noise, graph.latent["samples"], graph.sampler, graph.sigmas, seed=found.seed, disable_pbar=True
    )
    torch.testing.assert_close(found.latent["samples"], stock, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_samplers_that_cannot_be_foreseen_are_named():
    def sample_nothing(model, x, sigmas, extra_args=None, callback=None, disable=None):
        return x

    def sample_reaching(model, x, sigmas, extra_args=None, callback=None, disable=None):
        return x + model.inner_model.inner_model.latent_format.scale_factor

    for function, message in ((sample_nothing, "never asked"), (sample_reaching, "dry run")):
        with pytest.raises(
            ValueError, match=f"{function.__name__}.*{message}|{message}.*{function.__name__}"
        ):
            Graph.mixture("CONST", own_sampler=comfy.samplers.KSAMPLER(function)).search(candidates=3)


@torch.inference_mode()
def test_a_search_around_an_image_of_a_batch_begins_with_that_image():
    """Its recipe says which sample of the batch it is, and on a latent of one sample its noise is still the same."""
    whole = Graph.mixture("CONST", latent={"samples": torch.zeros(3, 4, 8, 8)})
    recipe = recipes_to_json([Recipe((Rollout(NoiseRecipe(5)),), 2)])
    settings = NoiseSearchZeroOrder.execute(2, 0.7, "keep best", around=recipe).result[0]
    found = Graph.mixture("CONST").search(settings, candidates=1, budget_nfe=6)
    torch.testing.assert_close(found.latent["samples"][0], whole.stock(5)[2], atol=1e-5, rtol=0)
    assert found.recipes == [Recipe((Rollout(NoiseRecipe(5)),), 2)]
    assert (found.latent["samples"][0] - whole.stock(5)[0]).abs().max() > 0.01


@pytest.mark.parametrize("piece", [{"start": 0.7}, {"steps": 3}])
def test_a_search_begins_around_whole_samples_only(piece):
    text = recipes_to_json([Recipe((Rollout(NoiseRecipe(5), **piece),))])
    with pytest.raises(ValueError, match="a start or steps of its own"):
        NoiseSearchZeroOrder.execute(2, 0.7, "keep best", around=text)
