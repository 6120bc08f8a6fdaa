"""Search over paths on the closed-form model: levels, budget, lineages, masks, model families."""

import time
import comfy.sample
import comfy.samplers
import pytest
import torch
from closed_form import FAMILIES, PixelVAE, TargetVerifier, cond, make_model, one_hot, uncond
from graphs import Graph, half_mask, some_latent
from hypothesis import example, given, settings
from hypothesis import strategies as st
from noisesearch.nodes.candidates import NoiseSearchFromRecipe
from noisesearch.nodes.searches import NoiseSearchPaths, NoiseSearchReplay
from noisesearch.sampling.levels import Levels
from noisesearch.sampling.samplers import multistep_consistency
from noisesearch.search.algorithms import SearchOverPaths
from noisesearch.search.algorithms.base import BudgetTooSmall, Terms
from noisesearch.search.algorithms.paths import PRESETS
from noisesearch.search.rollout import recipes_to_json

LOCAL = SearchOverPaths(2, 2, 0.75, 0.10, 0.35, steps=0)
PAPER = SearchOverPaths(2, 2, 0.12, 0.78, 0.81, steps=3)


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("preview", ["extra evaluation", "free"])
@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "euler_ancestral"])
@torch.inference_mode()
def test_counted_cost_is_predicted_cost(sampler, cfg, preview, steps):
    graph = Graph.mixture("EPS" if preview == "free" else "CONST", sampler_name=sampler, cfg=cfg)
    found = graph.search(SearchOverPaths(2, 2, steps=steps, preview=preview), budget_nfe=400)
    spy, totals = graph.model.spy, found.report["totals"]
    assert totals["network_rows"] == spy.rows and totals["nfe"] == spy.rows // (1 if cfg == 1.0 else 2)
    image = found.report["images"][0]
    assert image["search_nfe"] == sum(c["nfe"] for c in image["candidates"]) <= 400
    assert [len(ids) for ids in image["rounds"]] == [2, 4, 4, 4]
    assert all(not c["scores"] for c in image["candidates"][:2])  # starting points are not scored


@pytest.mark.slow
@given(
    paths=st.integers(1, 3),
    width=st.integers(0, 3),
    start=st.floats(0.05, 0.9),
    forward=st.floats(0.02, 0.6),
    net=st.floats(0.1, 0.4),
    steps=st.integers(0, 3),
    budget=st.integers(1, 300),
    rows=st.integers(1, 4),
    sampler=st.sampled_from(["euler", "heun", "euler_ancestral"]),
    preview=st.sampled_from(["extra evaluation", "free"]),
    denoise=st.sampled_from([1.0, 0.5]),
)
@example(
    1, 0, 0.5, 0.5, 0.25, 1, 4, 1, "euler", "extra evaluation", 0.5
)  # the reserve, not the width, makes the price
@settings(max_examples=40, deadline=None)
@torch.inference_mode()
def test_paths_end_at_zero_within_the_budget(
    paths, width, start, forward, net, steps, budget, rows, sampler, preview, denoise
):
    graph = Graph.mixture(
        "CONST", sampler_name=sampler, denoise=denoise, steps=4, latent={"samples": some_latent()}
    )
    search = SearchOverPaths(paths, width, start, forward, min(forward + net, 1.0), steps, preview)
    try:
        found = graph.search(search, budget_nfe=budget, batch_size=rows)
    except BudgetTooSmall as error:
        assert "One pass" in str(error) and str(budget) in str(error)
        assert graph.model.spy.calls == 0
        return
    image = found.report["images"][0]
    assert image["stopped"] == "the search came to its end"
    winner = found.recipes[0].pieces[-1]
    assert winner.stop == 0.0 and bool(torch.isfinite(found.latent["samples"]).all())
    assert graph.model.spy.rows == 2 * image["search_nfe"] and image["search_nfe"] <= budget
    last = [c for c in image["candidates"] if c["stop"] == 0.0]
    best = max(last, key=lambda c: (c["scores"][0], -c["id"]))
    assert image["winner"]["id"] == best["id"]
    assert image["ranking"][0] == best["id"] and len(image["ranking"]) == len(last)


@torch.inference_mode()
def test_the_best_children_of_each_round_survive():
    image = Graph.mixture("CONST").search(SearchOverPaths(2, 4), budget_nfe=400).report["images"][0]
    candidates = {c["id"]: c for c in image["candidates"]}
    for before, after in zip(image["rounds"][1:], image["rounds"][2:]):
        best = sorted(before, key=lambda i: (-candidates[i]["scores"][0], i))[:2]
        assert [candidates[i]["parent"] for i in after] == [parent for parent in best for _ in range(4)]


@torch.inference_mode()
def test_a_larger_budget_buys_width():
    widths = []
    for budget in (100, 200, 400):
        image = Graph.mixture("CONST").search(SearchOverPaths(2), budget_nfe=budget).report["images"][0]
        widths.append(min(round["width"] for round in image["settings"]["rounds"]))
        assert image["search_nfe"] <= budget
        with pytest.raises(BudgetTooSmall):
            Graph.mixture("CONST").search(SearchOverPaths(2, widths[-1] + 1), budget_nfe=budget)
    assert widths[0] < widths[1] < widths[2]


@given(paths=st.integers(1, 4), budget=st.integers(12, 400), steps=st.integers(-1, 3))
@settings(max_examples=60, deadline=None)
@torch.inference_mode()
def test_no_noise_more_fits_the_budget(paths, budget, steps):
    """Widths are as even as they can be, the first rounds wider by one; one more noise per path in any round would cost too much."""
    terms = terms_of(Graph.mixture("CONST").evaluator(), budget)
    try:
        planned = SearchOverPaths(paths, steps=steps).plan(terms)
    except BudgetTooSmall:
        return
    widths = [round.width for round in planned.rounds]
    assert (
        planned.prices(terms)[1] <= budget
        and widths == sorted(widths, reverse=True)
        and max(widths) - min(widths) <= 1
    )
    assert planned.spread(sum(widths) + 1).prices(terms)[1] > budget


def terms_of(evaluator, budget=0):
    return Terms(budget, evaluator.cost, evaluator.top, evaluator.own_steps)


@pytest.mark.parametrize(
    "search",
    [SearchOverPaths(2, 2), SearchOverPaths(2, 3, *PRESETS["paper"], 2), SearchOverPaths(1, 1, steps=1)],
    ids=["local", "paper", "narrow"],
)
@torch.inference_mode()
def test_prices_are_what_a_pass_costs_and_what_it_takes_to_end_it_anywhere(search):
    graph = Graph.mixture("CONST", steps=12)
    evaluator = graph.evaluator()
    terms = terms_of(evaluator)
    spent, need = search.plan(terms_of(evaluator, 10_000)).prices(terms)
    image = graph.search(search, budget_nfe=need).report["images"][0]
    assert (
        image["search_nfe"] == spent
        and str(spent) in image["plan"]
        and (need == spent or str(need) in image["plan"])
    )
    with pytest.raises(BudgetTooSmall, match=f"costs {spent} NFE"):
        graph.search(search, budget_nfe=need - 1)
    candidates, worst, done = {c["id"]: c for c in image["candidates"]}, 0, 0
    for ids in image["rounds"]:  # all of a round, and then the rest of one sample by the schedule's own steps
        done += sum(candidates[i]["nfe"] for i in ids)
        stop = candidates[ids[0]]["stop"]
        worst = max(
            worst,
            done
            + (
                0
                if stop == 0
                else evaluator.own_steps(stop, 0.0) - (1 if candidates[ids[0]]["scores"] else 0)
            ),
        )
    assert worst == need


def test_the_presets_are_those_of_the_help_page():
    """`paper`: what a re-implementation says it took over from the paper's authors (start 0.12, forward 0.78, backward 0.81)."""
    assert PRESETS == {"local": (0.75, 0.20, 0.45), "paper": (0.12, 0.78, 0.81)}
    for name, times in PRESETS.items():
        made = NoiseSearchPaths.execute(2, 0, name, 0.5, 0.1, 0.2, -1, "free").result[0]
        assert (made.start, made.forward, made.backward) == times


@torch.inference_mode()
def test_half_of_the_schedules_steps():
    evaluator = Graph.mixture("CONST", steps=20).evaluator()
    rounds = SearchOverPaths(2, 2).plan(terms_of(evaluator, 10_000)).rounds
    own = [evaluator.own_steps(round.up, round.down) for round in rounds]
    assert own == [9, 9, 9] and [round.steps for round in rounds] == [4, 4, 4]
    assert [
        round.steps for round in SearchOverPaths(2, 2, steps=0).plan(terms_of(evaluator, 10_000)).rounds
    ] == [None] * 3


@torch.inference_mode()
def test_what_does_not_pay_for_a_larger_width_widens_the_first_rounds():
    found = Graph.mixture("CONST").search(SearchOverPaths(2, steps=3), budget_nfe=44)
    image = found.report["images"][0]
    assert [len(ids) for ids in image["rounds"]] == [2, 4, 4, 2] and image["search_nfe"] <= 44
    assert "2 paths x 1 or 2 noises" in image["plan"]


@torch.inference_mode()
def test_a_pass_that_does_not_fit_is_an_error_that_names_its_price():
    graph = Graph.mixture("CONST")
    with pytest.raises(BudgetTooSmall, match=r"One pass .* costs \d+ NFE") as error:
        graph.search(SearchOverPaths(2, 50), budget_nfe=100)
    assert graph.model.spy.calls == 0
    price = int(str(error.value).split(" costs ")[1].split()[0])
    assert graph.search(SearchOverPaths(2, 50), budget_nfe=price).report["images"][0]["search_nfe"] <= price


@torch.inference_mode()
def test_a_time_limit_still_gives_a_finished_sample():
    class Slow(TargetVerifier):
        def score(self, batch):
            time.sleep(0.2)
            return super().score(batch)

    found = Graph.mixture("CONST").search(
        LOCAL, budget_nfe=200, time_limit=0.1, verifier=Slow(PixelVAE().decode(some_latent(seed=1))[0])
    )
    image = found.report["images"][0]
    assert image["stopped"] == "the time limit is reached" and len(image["rounds"]) == 3
    pieces = found.recipes[0].pieces
    assert pieces[-1].stop == 0.0 and pieces[-1].noise is None
    assert image["search_nfe"] <= 200


@pytest.mark.parametrize("search", [LOCAL, PAPER], ids=["local", "paper"])
@torch.inference_mode()
def test_an_eps_model_and_its_flow_twin_decide_alike(search):
    """Same seed, same SNR levels, one mixture: DDIM is Euler in flow time, so every score and every choice agree."""
    times = torch.tensor([0.92, 0.8, 0.65, 0.5, 0.3, 0.15, 0.0])
    found = {}
    for family, sigmas in (("EPS", times / (1 - times)), ("CONST", times)):
        graph = Graph(make_model(family), cond(one_hot(2)), uncond(), {"samples": torch.zeros(1, 4, 8, 8)})
        found[family] = graph.search(search, budget_nfe=500, sigmas=sigmas)
    assert found["EPS"].recipes == found["CONST"].recipes
    torch.testing.assert_close(
        found["EPS"].latent["samples"], found["CONST"].latent["samples"], atol=2e-4, rtol=0
    )
    scores = [[c["scores"] for c in f.report["images"][0]["candidates"]] for f in found.values()]
    assert all(a == pytest.approx(b, abs=1e-3) for a, b in zip(*scores))


def noised(family, x, low, high, z):
    """From sigma `low` up to `high`, written out for both kinds of model: x + sqrt(s'^2 - s^2) z, and its flow twin."""
    if family != "CONST":
        return x + (high**2 - low**2) ** 0.5 * z
    scale = (1 - high) / (1 - low)
    return scale * x + (high**2 - scale**2 * low**2) ** 0.5 * z


def by_hand(graph, recipe, family):
    """The lineage in one stock guider.sample: euler steps and renoising written out, the mask left to ComfyUI."""
    evaluator = graph.evaluator()
    pieces, latent = recipe.pieces, graph.latent["samples"]
    grids = []
    for i, piece in enumerate(pieces):
        start = piece.start if i == 0 or piece.start is not None else pieces[i - 1].stop
        grids.append(evaluator.schedule.piece(start, piece.stop, piece.steps))

    def lineage(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for i, (piece, grid) in enumerate(zip(pieces, grids)):
            if i and piece.noise:
                x = noised(
                    family,
                    x,
                    float(grids[i - 1][-1]),
                    float(grid[0]),
                    piece.noise.noise(lambda seed: comfy.sample.prepare_noise(latent, seed)),
                )
            for here, there in zip(grid[:-1], grid[1:]):
                denoised = model(x, here * x.new_ones([1]), **extra_args)
                x = x + (x - denoised) / here * (there - here)
        return x

    root = pieces[0].noise.noise(lambda seed: comfy.sample.prepare_noise(latent, seed))
    sampler = comfy.samplers.KSAMPLER(lineage, inpaint_options=graph.sampler.inpaint_options)
    return graph.guider.sample(
        root,
        latent,
        sampler,
        graph.sigmas,
        denoise_mask=graph.latent.get("noise_mask"),
        seed=pieces[0].noise.seed,
        disable_pbar=True,
    )


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("search", [LOCAL, PAPER], ids=["local", "paper"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_the_winner_is_its_lineage_run_step_by_step(family, search, masked):
    latent = {"samples": some_latent(), "noise_mask": half_mask()} if masked else None
    graph = Graph.mixture(family, latent=latent)
    found = graph.search(search, budget_nfe=500, batch_size=3)
    samples = found.latent["samples"]
    torch.testing.assert_close(samples, by_hand(graph, found.recipes[0], family), atol=1e-4, rtol=0)
    if masked:  # outside the mask it is the input
        torch.testing.assert_close(samples[..., 4:], graph.latent["samples"][..., 4:], atol=1e-5, rtol=0)
        assert (samples[..., :4] - graph.latent["samples"][..., :4]).abs().max() > 0.05


@torch.inference_mode()
def test_ddim_draws_one_noise_under_the_mask_for_the_whole_lineage():
    """Stock `ddim` is euler with other noise under the mask, drawn once from the seed."""
    latent = {"samples": some_latent(), "noise_mask": half_mask()}
    found = {}
    for name in ("ddim", "euler"):
        graph = Graph.mixture("EPS", latent=latent, sampler_name=name)
        found[name] = graph.search(LOCAL, budget_nfe=500, batch_size=3)
        torch.testing.assert_close(
            found[name].latent["samples"], by_hand(graph, found[name].recipes[0], "EPS"), atol=1e-4, rtol=0
        )
    assert (found["ddim"].latent["samples"] - found["euler"].latent["samples"]).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_image_to_image_keeps_the_input(family):
    """From denoise 0.5 the schedule begins near or below the start: it is clamped, said, and the picture stays like its input."""
    graph = Graph.mixture(family, latent={"samples": some_latent()}, denoise=0.5, steps=8)
    found = graph.search(SearchOverPaths(2, 2, 0.75, 0.10, 0.35), budget_nfe=400)
    planned, top = found.report["images"][0]["settings"], graph.evaluator().top
    assert planned["start"] == pytest.approx(min(0.75, top - 0.10), abs=1e-6) and (
        family == "EDM" or planned["start"] < 0.74
    )
    assert (planned["start"] < 0.75) == any(
        "instead of 0.750, to have room" in note for note in found.report["notes"]
    )
    assert all(c.get("start", 0.0) <= top + 1e-6 for c in found.report["images"][0]["candidates"])
    torch.testing.assert_close(
        found.latent["samples"], by_hand(graph, found.recipes[0], family), atol=1e-4, rtol=0
    )
    moved, stock = (
        (image - graph.latent["samples"]).norm() for image in (found.latent["samples"], graph.stock(11))
    )
    assert moved < 1.2 * stock, "further from its input than a stock run of the same strength"


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpmpp_sde"])
@pytest.mark.parametrize("search", [LOCAL, PAPER], ids=["local", "paper"])
@torch.inference_mode()
def test_recipes_replay_without_a_verifier(search, sampler):
    graph = Graph.mixture("EPS", sampler_name=sampler, latent={"samples": torch.zeros(2, 4, 8, 8)})
    found = graph.search(search, budget_nfe=500)
    recipe = recipes_to_json(found.recipes)
    replay = NoiseSearchReplay.execute(recipe).result[0]
    again = _without_a_verifier(graph, replay, seed=999)
    torch.testing.assert_close(again.images, found.images, atol=1e-4, rtol=0)
    torch.testing.assert_close(again.latent["samples"], found.latent["samples"], atol=1e-4, rtol=0)
    assert again.recipes == found.recipes
    with pytest.raises(ValueError, match="Remake Winner"):
        NoiseSearchFromRecipe.execute(recipe)
    with pytest.raises(ValueError, match="Remake Winner"):
        found.noise().generate_noise(graph.latent)
    # one of the batch, alone
    second = Graph(
        graph.model,
        graph.positive,
        graph.negative,
        {"samples": torch.zeros(1, 4, 8, 8)},
        sampler,
        graph.scheduler,
    )
    alone = _without_a_verifier(
        second, NoiseSearchReplay.execute(recipes_to_json(found.recipes[1:])).result[0], seed=0
    )
    torch.testing.assert_close(alone.images, found.images[1:], atol=1e-4, rtol=0)


def _without_a_verifier(graph, replay, seed):
    from noisesearch.session.run import Wishes, search_images

    return search_images(
        graph.guider, graph.sampler, graph.sigmas, graph.latent, seed, replay, None, PixelVAE(), "", Wishes()
    )


def test_final_sigmas_are_refused():
    with pytest.raises(ValueError, match="final_sigmas"):
        Graph.mixture("CONST").search(LOCAL, final_sigmas=torch.tensor([1.0, 0.5, 0.0]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((2, 2, "custom", 0.5, 0.3, 0.3, 0, "free"), "must be larger than forward"),
        ((2, 2, "custom", 0.5, 0.3, 0.2, 0, "free"), "must be larger than forward"),
        ((-1, 2, "local", 0.5, 0.3, 0.4, 0, "free"), "paths must be from 0 to 64"),
    ],
)
def test_bad_settings(given, message):
    with pytest.raises(ValueError, match=message):
        NoiseSearchPaths.execute(*given)


def test_less_than_no_paths():
    with pytest.raises(ValueError, match="no negative number of paths"):
        SearchOverPaths(-1, 2, 0.5, 0.3, 0.4)


@torch.inference_mode()
def test_on_a_consistency_sampler():
    graph = Graph.mixture("CONST", own_sampler=multistep_consistency(times=[0.5]))
    found = graph.search(SearchOverPaths(2, 3, 0.6, 0.2, 0.4), budget_nfe=200)
    image = found.report["images"][0]
    assert graph.model.spy.rows == 2 * image["search_nfe"]
    assert image["winner"]["scores"][0] == max(
        c["scores"][0] for c in image["candidates"] if c["stop"] == 0.0
    )


@torch.inference_mode()
def test_videos():
    graph = Graph(
        make_model("CONST", dims=3), cond(one_hot(2)), uncond(), {"samples": torch.zeros(1, 4, 3, 8, 8)}
    )

    class Brightness(TargetVerifier):
        def score(self, batch):
            assert batch.images.shape[1:] == (3, 8, 8, 3)
            return batch.images.flatten(1).mean(1)

    found = graph.search(LOCAL, budget_nfe=200, verifier=Brightness(torch.zeros(8, 8, 3)))
    assert found.latent["samples"].shape == (1, 4, 3, 8, 8) and found.images.shape == (3, 8, 8, 3)
    torch.testing.assert_close(
        found.latent["samples"], by_hand(graph, found.recipes[0], "CONST"), atol=1e-4, rtol=0
    )


@torch.inference_mode()
def test_a_model_that_is_no_interpolant_can_still_be_searched_whole(monkeypatch):
    graph = Graph.mixture("EPS")

    def refuse(self, sampling):
        raise ValueError("no interpolant")

    monkeypatch.setattr(Levels, "__init__", refuse)
    assert graph.search(candidates=3).report["totals"]["nfe"] == 3 * graph.steps
    with pytest.raises(ValueError, match="no interpolant"):
        graph.search(LOCAL, budget_nfe=200)
