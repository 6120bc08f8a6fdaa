"""Search over paths on the closed-form model: levels, budget, lineages, masks, model families."""
import time
import comfy.sample
import comfy.samplers
import pytest
import torch
from closed_form import FAMILIES, PixelVAE, TargetVerifier, cond, make_model, one_hot, uncond
from graphs import Graph, evaluated, half_mask, some_latent
from hypothesis import example, given, settings
from hypothesis import strategies as st
from noisesearch.nodes.candidates import NoiseSearchFromRecipe
from noisesearch.nodes.progress import LiveProgress
from noisesearch.nodes.search import NoiseSearchPaths, NoiseSearchReplay
from noisesearch.sampling.levels import Levels
from noisesearch.sampling.samplers import multistep_consistency
from noisesearch.search.algorithms import SearchOverPaths
from noisesearch.search.algorithms.base import BudgetTooSmall, Terms
from noisesearch.search.algorithms.paths import PRESETS
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Rollout, recipes_to_json

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


@given(paths=st.integers(1, 3), width=st.integers(0, 3), start=st.floats(0.05, 0.9), forward=st.floats(0.02, 0.6), net=st.floats(0.1, 0.4), steps=st.integers(0, 3),
       budget=st.integers(1, 300), rows=st.integers(1, 4), sampler=st.sampled_from(["euler", "heun", "euler_ancestral"]), preview=st.sampled_from(["extra evaluation", "free"]),
       denoise=st.sampled_from([1.0, 0.5]))
@example(1, 0, 0.5, 0.5, 0.25, 1, 4, 1, "euler", "extra evaluation", 0.5)  # the reserve, not the width, makes the price
@settings(max_examples=40, deadline=None)
@torch.inference_mode()
def test_paths_end_at_zero_within_the_budget(paths, width, start, forward, net, steps, budget, rows, sampler, preview, denoise):
    graph = Graph.mixture("CONST", sampler_name=sampler, denoise=denoise, steps=4, latent={"samples": some_latent()})
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
    assert planned.prices(terms)[1] <= budget and widths == sorted(widths, reverse=True) and max(widths) - min(widths) <= 1
    assert planned.spread(sum(widths) + 1).prices(terms)[1] > budget


def terms_of(evaluator, budget=0):
    return Terms(budget, evaluator.cost, evaluator.top, evaluator.own_steps)


@pytest.mark.parametrize("search", [SearchOverPaths(2, 2), SearchOverPaths(2, 3, *PRESETS["paper"], 2), SearchOverPaths(1, 1, steps=1)], ids=["local", "paper", "narrow"])
@torch.inference_mode()
def test_prices_are_what_a_pass_costs_and_what_it_takes_to_end_it_anywhere(search):
    graph = Graph.mixture("CONST", steps=12)
    evaluator = graph.evaluator()
    terms = terms_of(evaluator)
    spent, need = search.plan(terms_of(evaluator, 10_000)).prices(terms)
    image = graph.search(search, budget_nfe=need).report["images"][0]
    assert image["search_nfe"] == spent and str(spent) in image["plan"] and (need == spent or str(need) in image["plan"])
    with pytest.raises(BudgetTooSmall, match=f"costs {spent} NFE"):
        graph.search(search, budget_nfe=need - 1)
    candidates, worst, done = {c["id"]: c for c in image["candidates"]}, 0, 0
    for ids in image["rounds"]:  # all of a round, and then the rest of one sample by the schedule's own steps
        done += sum(candidates[i]["nfe"] for i in ids)
        stop = candidates[ids[0]]["stop"]
        worst = max(worst, done + (0 if stop == 0 else evaluator.own_steps(stop, 0.0) - (1 if candidates[ids[0]]["scores"] else 0)))
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
    assert [round.steps for round in SearchOverPaths(2, 2, steps=0).plan(terms_of(evaluator, 10_000)).rounds] == [None] * 3


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

    found = Graph.mixture("CONST").search(LOCAL, budget_nfe=200, time_limit=0.1, verifier=Slow(PixelVAE().decode(some_latent(seed=1))[0]))
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
    torch.testing.assert_close(found["EPS"].latent["samples"], found["CONST"].latent["samples"], atol=2e-4, rtol=0)
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
                x = noised(family, x, float(grids[i - 1][-1]), float(grid[0]), piece.noise.noise(lambda seed: comfy.sample.prepare_noise(latent, seed)))
            for here, there in zip(grid[:-1], grid[1:]):
                denoised = model(x, here * x.new_ones([1]), **extra_args)
                x = x + (x - denoised) / here * (there - here)
        return x

    root = pieces[0].noise.noise(lambda seed: comfy.sample.prepare_noise(latent, seed))
    return graph.guider.sample(root, latent, comfy.samplers.KSAMPLER(lineage), graph.sigmas, denoise_mask=graph.latent.get("noise_mask"), seed=0, disable_pbar=True)


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
def test_image_to_image_keeps_the_input():
    """From denoise 0.5 the schedule begins below the start: it is clamped, said, and the picture stays like its input."""
    graph = Graph.mixture("CONST", latent={"samples": some_latent()}, denoise=0.5, steps=8)
    found = graph.search(SearchOverPaths(2, 2, 0.75, 0.10, 0.35), budget_nfe=400)
    planned = found.report["images"][0]["settings"]
    assert planned["start"] == pytest.approx(float(graph.sigmas[0]) - 0.10, abs=1e-6)
    assert any("instead of 0.750, to have room" in note for note in found.report["notes"])
    top = float(graph.sigmas[0])
    assert all(c.get("start", 0.0) <= top + 0.1 for c in found.report["images"][0]["candidates"])
    torch.testing.assert_close(found.latent["samples"], by_hand(graph, found.recipes[0], "CONST"), atol=1e-4, rtol=0)
    moved, stock = ((image - graph.latent["samples"]).norm() for image in (found.latent["samples"], graph.stock(11)))
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
    with pytest.raises(ValueError, match="Replay Recipe"):
        NoiseSearchFromRecipe.execute(recipe)
    with pytest.raises(ValueError, match="Replay Recipe"):
        found.noise().generate_noise(graph.latent)
    # one of the batch, alone
    second = Graph(graph.model, graph.positive, graph.negative, {"samples": torch.zeros(1, 4, 8, 8)}, sampler, graph.scheduler)
    alone = _without_a_verifier(second, NoiseSearchReplay.execute(recipes_to_json(found.recipes[1:])).result[0], seed=0)
    torch.testing.assert_close(alone.images, found.images[1:], atol=1e-4, rtol=0)


def _without_a_verifier(graph, replay, seed):
    from noisesearch.nodes.run import Wishes, search_images

    return search_images(graph.guider, graph.sampler, graph.sigmas, graph.latent, seed, replay, None, PixelVAE(), "", Wishes())


def test_final_sigmas_are_refused():
    with pytest.raises(ValueError, match="final_sigmas"):
        Graph.mixture("CONST").search(LOCAL, final_sigmas=torch.tensor([1.0, 0.5, 0.0]))


@pytest.mark.parametrize(("given", "message"), [
    ((2, 2, "custom", 0.5, 0.3, 0.3, 0, "free"), "must be larger than forward"),
    ((2, 2, "custom", 0.5, 0.3, 0.2, 0, "free"), "must be larger than forward"),
    ((0, 2, "local", 0.5, 0.3, 0.4, 0, "free"), "at least 1 path"),
])
def test_bad_settings(given, message):
    with pytest.raises(ValueError, match=message):
        NoiseSearchPaths.execute(*given)


@torch.inference_mode()
def test_on_a_consistency_sampler():
    graph = Graph.mixture("CONST", own_sampler=multistep_consistency(times=[0.5]))
    found = graph.search(SearchOverPaths(2, 3, 0.6, 0.2, 0.4), budget_nfe=200)
    image = found.report["images"][0]
    assert graph.model.spy.rows == 2 * image["search_nfe"]
    assert image["winner"]["scores"][0] == max(c["scores"][0] for c in image["candidates"] if c["stop"] == 0.0)


@torch.inference_mode()
def test_videos():
    graph = Graph(make_model("CONST", dims=3), cond(one_hot(2)), uncond(), {"samples": torch.zeros(1, 4, 3, 8, 8)})

    class Brightness(TargetVerifier):
        def score(self, batch):
            assert batch.images.shape[1:] == (3, 8, 8, 3)
            return batch.images.flatten(1).mean(1)

    found = graph.search(LOCAL, budget_nfe=200, verifier=Brightness(torch.zeros(8, 8, 3)))
    assert found.latent["samples"].shape == (1, 4, 3, 8, 8) and found.images.shape == (3, 8, 8, 3)
    torch.testing.assert_close(found.latent["samples"], by_hand(graph, found.recipes[0], "CONST"), atol=1e-4, rtol=0)


@torch.inference_mode()
def test_a_model_that_is_no_interpolant_can_still_be_searched_whole(monkeypatch):
    graph = Graph.mixture("EPS")

    def refuse(self, sampling):
        raise ValueError("no interpolant")

    monkeypatch.setattr(Levels, "__init__", refuse)
    assert graph.search(candidates=3).report["totals"]["nfe"] == 3 * graph.steps
    with pytest.raises(ValueError, match="no interpolant"):
        graph.search(LOCAL, budget_nfe=200)


@torch.inference_mode()
def test_children_of_children_draw_noise_of_their_own():
    graph = Graph.mixture("EPS", sampler_name="euler_ancestral")
    evaluator = graph.evaluator(rows=4)

    evaluated(evaluator, [Rollout(NoiseRecipe(1), stop=0.5, score=False)])
    evaluated(evaluator, [Rollout(NoiseRecipe(1), 0, 0.7, 0.5, score=False), Rollout(parent=0, stop=0.3, score=False)], first=1)
    seeds = [evaluator.jobs[i].seed for i in range(3)]
    assert len(set(seeds)) == 3 and seeds[0] == 1


ELSEWHERE = {"sa_solver", "sa_solver_pece", "dpm_fast"}  # stock samplers that do not stop at the last of their sigmas
ONE_STEP = {"uni_pc", "uni_pc_bh2"}  # nor these in one step
LOOSE = {"lcm", "er_sde", "res_multistep_ancestral", "res_multistep_ancestral_cfg_pp"}  # draw too narrow, or too wide for so few steps: stock runs do, too


@pytest.mark.parametrize("family", ["EPS", "CONST"])
@pytest.mark.parametrize("name", [name for name in comfy.samplers.SAMPLER_NAMES if name not in ("dpm_adaptive", "ddim")])
@torch.inference_mode()
def test_a_piece_ends_at_the_noise_it_is_asked_for_or_is_refused(name, family):
    """By what is left in the latents of one component of the mixture, three pieces down a lineage."""
    graph = Graph.mixture(family, sampler_name=name, steps=30, cfg=1.0)
    evaluator, mixture = graph.evaluator(rows=16), graph.model.mixture
    if name in ELSEWHERE:
        with pytest.raises(ValueError, match=f"{name}.* cannot be used for a piece"):
            graph.search(SearchOverPaths(2), candidates=8)
        assert graph.model.spy.calls == 0 and graph.search(candidates=2).seed in (11, 12)
        return
    if name in ONE_STEP:
        with pytest.raises(ValueError, match="unipc.* cannot be used for a piece"):
            graph.search(SearchOverPaths(2, steps=1), candidates=8)
    pieces = [(None, 0.75, None), (0.93, 0.5, 6), (0.7, 0.25, 6)]
    for number, (start, stop, steps) in enumerate(pieces):
        rollouts = [Rollout(NoiseRecipe(100 * number + i), None if number == 0 else 16 * (number - 1) + i, start, stop, steps, score=False) for i in range(16)]
        evaluated(evaluator, rollouts, first=16 * number)
        x = torch.cat([evaluator.shelf[16 * number + i].state for i in range(16)]).double()
        a, b = evaluator.schedule.levels.coefficients(evaluator.schedule.piece(None, stop)[-1])
        spread = float((x - a * mixture.means[2]).std() / (b**2 + (a * mixture.stds[2]) ** 2).sqrt())
        assert spread == pytest.approx(1.0, abs=0.3 if name in LOOSE else 0.15), stop


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
    evaluator = graph.evaluator(rows=1, preview=preview, decode=lambda latents: latents, judge=lambda images, ids, early: seen.append(images) or [(0.0,)] * len(images))
    seen, states = [], {}
    evaluated(evaluator, [Rollout(NoiseRecipe(5), stop=0.4)])

    def watch(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for here, there in zip(sigmas[:-1], sigmas[1:]):
            states["last"] = model(x, here * x.new_ones([1]), **extra_args)
            x = x + (x - states["last"]) / here * (there - here)
        states["extra"] = model(x, sigmas[-1] * x.new_ones([1]), **extra_args)
        return x

    graph.guider.sample(comfy.sample.prepare_noise(graph.latent["samples"], 5), graph.latent["samples"], comfy.samplers.KSAMPLER(watch), evaluator.schedule.piece(None, 0.4),
                        denoise_mask=graph.latent.get("noise_mask"), seed=5, disable_pbar=True)
    expected = graph.model.model.process_latent_out(states["extra" if preview == "extra evaluation" else "last"])
    torch.testing.assert_close(seen[0], expected, atol=1e-4, rtol=0)
    assert (states["extra"] - states["last"]).abs().max() > 1e-3
    if masked:
        torch.testing.assert_close(seen[0][..., 4:], graph.latent["samples"][..., 4:], atol=1e-4, rtol=0)


@torch.inference_mode()
def test_the_best_preview_is_shown_on_the_way(monkeypatch):
    shown = []
    monkeypatch.setattr(LiveProgress, "best", lambda self, nfe, text, image: shown.append((text, image)))
    image = Graph.mixture("CONST").search(SearchOverPaths(2, 2), budget_nfe=300, batch_size=4).report["images"][0]
    assert ["on the way · best preview" in text for text, _ in shown] == [True, True, False]
    first = max(image["candidates"][i]["scores"][0] for i in image["rounds"][1])
    assert f"{first:.3g}" in shown[0][0] and all(picture.shape == (1, 8, 8, 3) for _, picture in shown)
