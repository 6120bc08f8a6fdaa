"""Drafts, then a good render: what is searched, rendered, judged, counted and said."""

import json

import comfy.samplers
import pytest
import torch
from closed_form import PixelVAE, ScaledLatents, TargetVerifier, uncond
from graphs import Graph, half_mask, some_latent
from noisesearch.search.algorithms import (
    Auto,
    RandomSearch,
    Replay,
    SearchOverPaths,
    SeedPruning,
    ZeroOrder,
)
from noisesearch.search.algorithms.auto import FEWEST, MOST, PATHS
from noisesearch.search.algorithms.base import BudgetTooSmall
from noisesearch.session.carry import record_of
from noisesearch.session.pick import read_pick
from noisesearch.session.stop import Stopper
from noisesearch.verifiers.base import Verifier
from noisesearch.verifiers.ensemble import Ensemble
from noisesearch.verifiers.judges.self_supervised import SelfSupervised

STEPS = 12


def graph_of(family="CONST", **settings):
    return Graph.mixture(family, **{"steps": STEPS, **settings})


def with_steps(graph, steps):
    """The same graph with other steps."""
    return Graph(**{**vars(graph), "steps": steps})


def drafted(graph, settings=None, **wishes):
    """(found, its report of the first sample); all that is paid is counted."""
    graph.model.spy.reset()
    found = graph.search(settings, **{"candidates": 4, "draft_steps": 4, **wishes})
    report = found.report
    assert json.loads(json.dumps(report)) == report
    paid = sum(image["search_nfe"] + image["final_nfe"] for image in report["images"])
    assert report["totals"]["nfe"] == paid
    paid += report["totals"]["check_nfe"]  # of what others attached
    assert graph.model.spy.rows == paid * graph.rows_per_nfe
    for image in report["images"]:
        assert image["search_nfe"] == sum(one["nfe"] for one in image["candidates"])
        assert image["search_nfe"] + image["final_nfe"] <= image["budget_nfe"]
        if "drafts" in image:
            assert image["final_nfe"] == sum(one["nfe"] for one in image["drafts"]["finals"])
    return found, report["images"][0]


def target_judge(seed=1):
    return TargetVerifier(PixelVAE().decode(some_latent(seed=seed))[0])


@torch.inference_mode()
def test_the_best_drafts_are_rendered_with_all_steps_and_the_best_of_those_wins():
    graph = graph_of()
    found, image = drafted(graph, verify_top=3, budget_nfe=74)
    drafts, finals = image["drafts"], image["drafts"]["finals"]
    assert (drafts["draft_steps"], drafts["verify_top"], drafts["steps"]) == (4, 3, STEPS)
    assert [one["nfe"] for one in image["candidates"]] == [4] * ((74 - 3 * STEPS) // 4)
    assert [one["draft"] for one in finals] == image["ranking"][:3] and [one["nfe"] for one in finals] == [STEPS] * 3  # fmt: skip
    best = max(finals, key=lambda one: one["scores"][0])
    assert found.scores[0] == best["scores"][0] == image["winner"]["scores"][0]
    assert found.seed == image["candidates"][best["draft"]]["noise"]["seed"]
    assert all(one["scores"] != one["draft_scores"] for one in finals)
    torch.testing.assert_close(found.latent["samples"], graph.stock(found.seed), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.images, PixelVAE().decode(found.latent["samples"]))


class Pixels:
    """The image itself as its features."""

    def image_features(self, images):
        return images.flatten(1) - 0.5


class Fickle(Verifier):
    """Looks at what changes with the number of steps."""

    name = "fickle"

    def score(self, batch):
        return (200 * batch.images.flatten(1).double()).sin().mean(1)


@torch.inference_mode()
def test_a_draft_that_renders_better_than_the_best_one_wins():
    """Whatever the drafts say, the final scores decide."""
    graph = graph_of()
    won = set()
    for seed in range(0, 400, 100):
        found, image = drafted(graph, seed=seed, candidates=8, verify_top=4, draft_steps=3, verifier=Fickle())
        finals = image["drafts"]["finals"]
        order = sorted(finals, key=lambda one: -one["scores"][0])
        won.add(finals.index(order[0]))
        # top_images: the finals in the order of their final scores
        seeds = [image["candidates"][one["draft"]]["noise"]["seed"] for one in order]
        assert [recipe.root.seed for recipe in found.found[0].top_recipes] == seeds
    assert len(won) > 1


@pytest.mark.parametrize("scheduler", ["simple", "karras"])
@torch.inference_mode()
def test_drafts_are_stock_images_of_few_steps_with_the_users_scheduler(scheduler):
    graph = graph_of("EPS", sampler_name="dpmpp_2m")
    graph.scheduler = scheduler
    few, judge = with_steps(graph, 5), target_judge()
    found, image = drafted(
        graph, draft_steps=5, verify_top=1, shorter=lambda steps: with_steps(graph, steps).sigmas
    )
    for one in image["candidates"]:
        stock = PixelVAE().decode(few.stock(one["noise"]["seed"]))
        assert one["scores"][0] == pytest.approx(float(judge.score(type("B", (), {"images": stock}))), abs=1e-4)  # fmt: skip


@torch.inference_mode()
def test_of_sigmas_every_nth_is_taken():
    """SamplerCustomAdvanced (Best of N Search) has no scheduler: drafts are spaced as the user's sigmas."""
    graph = graph_of()
    found, image = drafted(graph, draft_steps=4, verify_top=1)
    few = graph.sigmas[::3]
    for one in image["candidates"][:3]:
        noise = comfy.sample.prepare_noise(graph.latent["samples"], one["noise"]["seed"])
        stock = graph.guider.sample(noise, graph.latent["samples"], graph.sampler, few, seed=0, disable_pbar=True)  # fmt: skip
        score = target_judge().score(type("B", (), {"images": PixelVAE().decode(stock)}))
        assert one["scores"][0] == pytest.approx(float(score), abs=1e-4)


VIDEO = (4, 3, 8, 8)
CASES = {
    "heun": {"sampler_name": "heun"},
    "multistep": {"sampler_name": "dpmpp_2m", "family": "EPS"},
    "no guidance": {"cfg": 1.0},
    "img2img": {"latent": {"samples": some_latent()}, "denoise": 0.5},
    "mask": {"latent": {"samples": some_latent(), "noise_mask": half_mask()}},
    "ddim under a mask": {
        "latent": {"samples": some_latent(), "noise_mask": half_mask()},
        "sampler_name": "ddim",
    },
    "batch": {"latent": {"samples": torch.zeros(2, 4, 8, 8)}},
    "video": {"latent": {"samples": torch.zeros(1, *VIDEO)}, "dims": 3},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("settings", [None, ZeroOrder(2, 0.8)], ids=["random", "zero-order"])
@torch.inference_mode()
def test_every_kind_of_run(case, settings):
    graph = graph_of(**CASES[case])
    asked = {}
    if case == "video":
        vae = PixelVAE(ScaledLatents(3))
        asked = {"vae": vae, "verifier": TargetVerifier(vae.decode(some_latent(shape=VIDEO))[0])}
    found, image = drafted(graph, settings, candidates=5, **asked)
    assert len(image["candidates"]) >= 4 and len(image["drafts"]["finals"]) == 2
    again = graph.search(Replay(tuple(found.recipes)), draft_steps=4, **asked)
    torch.testing.assert_close(again.latent["samples"], found.latent["samples"], atol=1e-5, rtol=0)
    if settings is None:
        assert len(found.recipes) == len(graph.latent["samples"])
        for i, recipe in enumerate(found.recipes):
            stock = graph.stock(recipe.root.seed)[i]
            torch.testing.assert_close(found.latent["samples"][i], stock, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_pruned_drafts():
    """Cut on the way of their few steps; what is handed on says nothing of that."""
    graph = graph_of(steps=20)
    found, image = drafted(graph, SeedPruning(), draft_steps=8, candidates=8, keep_top=4)
    assert len(image["candidates"]) > 15 and image["settings"]["name"] == "seed pruning"
    for i, recipe in enumerate(found.found[0].top_recipes):
        assert len(recipe.pieces) == 1 and recipe.pieces[0].finished
        stock = with_steps(graph, 20 if i < 2 else 8).stock(recipe.root.seed)
        torch.testing.assert_close(found.top_latents["samples"][i : i + 1], stock, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_three_judges_and_a_witness():
    judges = tuple(target_judge(seed) for seed in (1, 2, 3))
    ensemble = Ensemble(judges, (1.0, 2.0, 0.5), held_out=target_judge(4))
    found, image = drafted(graph_of(), verifier=ensemble, candidates=8, verify_top=4)
    finals = image["drafts"]["finals"]
    assert all(len(one["scores"]) == 3 and one["held_out"] is not None for one in finals)
    ranked = [
        sum(
            w * sorted(o["scores"][i] for o in finals).index(one["scores"][i])
            for i, w in enumerate((1, 2, 0.5))
        )  # fmt: skip
        for one in finals
    ]
    best = finals[ranked.index(max(ranked))]  # of equals the better draft
    assert image["winner"]["scores"] == best["scores"] and image["winner"]["held_out"] == best["held_out"]
    assert found.report["totals"]["verifier_calls"] == 4 * (len(image["candidates"]) + len(finals))
    assert -1 <= image["drafts"]["rank_correlation"] <= 1


@torch.inference_mode()
def test_a_judge_of_predictions_on_the_way_judges_the_finals_too():
    found, image = drafted(graph_of(), verifier=SelfSupervised(Pixels()), draft_steps=6)
    finals = image["drafts"]["finals"]
    assert max(one["scores"][0] for one in finals) == found.scores[0]
    assert all(one["scores"] != one["draft_scores"] for one in finals)


@torch.inference_mode()
def test_runner_ups_that_were_not_rendered_are_drafts():
    graph = graph_of()
    found, image = drafted(graph, keep_top=4, verify_top=2, candidates=8)
    top = found.top_latents["samples"]
    seeds = [recipe.root.seed for recipe in found.found[0].top_recipes]
    assert len(top) == 4 == len(set(seeds))
    for i, steps in enumerate((STEPS, STEPS, 4, 4)):
        stock = with_steps(graph, steps).stock(seeds[i])
        torch.testing.assert_close(top[i : i + 1], stock, atol=1e-4, rtol=0)
    assert any("the first 2 have all 12 steps" in note for note in found.report["notes"])
    fewer, _ = drafted(graph, keep_top=1, verify_top=2, candidates=8)
    assert fewer.recipes == found.recipes and len(fewer.top_latents["samples"]) == 1
    record = record_of(found, {})
    assert [one["scores"] for one in record["top"]] == [
        list(one) for one in found.found[0].top_scores
    ] and record["winners"][0]["drafts"] == {"draft_steps": 4, "draft_cfg": 0.0, "verify_top": 2}
    picked = read_pick(json.dumps(record))
    again, image = drafted(graph, picked.search)  # with drafts in the widgets
    torch.testing.assert_close(again.images, found.images, atol=1e-6, rtol=0)
    assert "drafts" not in image and again.report["totals"]["nfe"] == STEPS


# -- their guidance ---------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_drafts_have_a_guidance_of_their_own():
    graph = graph_of(cfg=6.0)
    found, image = drafted(graph, draft_cfg=2.0, verify_top=1)
    weak, _ = drafted(Graph(**{**vars(graph), "cfg": 2.0}), verify_top=1)
    assert image["drafts"]["draft_cfg"] == 2.0
    assert [c["scores"] for c in image["candidates"]] == [
        c["scores"] for c in weak.report["images"][0]["candidates"]
    ]
    torch.testing.assert_close(found.latent["samples"], graph.stock(found.seed), atol=1e-6, rtol=0)
    assert graph.guider.cfg == 6.0


class OwnGuider(comfy.samplers.CFGGuider):
    def predict_noise(self, *args, **kwargs):
        return super().predict_noise(*args, **kwargs)


@torch.inference_mode()
def test_a_guider_without_one_scale_has_no_draft_cfg():
    graph = graph_of()
    guider = OwnGuider(graph.model)
    guider.set_conds(graph.positive, uncond())
    guider.set_cfg(4.0)
    graph.model.spy.reset()
    with pytest.raises(ValueError, match="draft_cfg is the guidance scale of a CFGGuider.*OwnGuider"):
        graph.search(guider=guider, draft_steps=4, draft_cfg=2.0)
    assert graph.model.spy.rows == 0
    assert drafted(graph, guider=guider)[1]["drafts"]["draft_cfg"] == 0.0


# -- what is refused, before anything is paid --------------------------------------------------------------------------------


def restless(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """A sampler of another pack, which draws from torch's global generator."""
    for here, there in zip(sigmas[:-1], sigmas[1:]):
        x = model(x, here * x.new_ones([len(x)]), **extra_args) + there * torch.randn_like(x)
    return x


REFUSED = {
    "two steps": ({}, None, {"draft_steps": 2}, "at least 3"),
    "as many steps": ({}, None, {"draft_steps": STEPS}, "fewer steps than the final image, which has 12"),
    "ancestral": ({"sampler_name": "euler_ancestral"}, None, {}, "euler_ancestral draws noise"),
    "brownian": ({"sampler_name": "dpmpp_2m_sde", "family": "EPS"}, None, {}, "dpmpp_2m_sde draws noise"),
    "unknown": ({"own_sampler": comfy.samplers.KSAMPLER(restless)}, None, {}, "restless draws noise"),
    "churn": (
        {"own_sampler": comfy.samplers.ksampler("euler", {"s_churn": 2.0}), "family": "EPS"},
        None,
        {},
        "euler draws noise",
    ),
    "paths": ({}, SearchOverPaths(2), {}, "does not go with search over paths"),
    "final_sigmas": ({}, None, {"final_sigmas": torch.tensor([1.0, 0.5, 0.0])}, "two ways"),
    "top": ({}, None, {"verify_top": 4}, "4 final renders and one draft take 52 NFE"),
    "budget": ({}, None, {"budget_nfe": 27}, "take 28 NFE here, more than the 27 NFE"),
}


@pytest.mark.parametrize("case", REFUSED)
@torch.inference_mode()
def test_what_cannot_be_drafted_is_refused(case):
    settings, search, wishes, said = REFUSED[case]
    graph = graph_of(**settings)
    graph.model.spy.reset()
    with pytest.raises((ValueError, BudgetTooSmall), match=said):
        graph.search(search, **{"candidates": 4, "draft_steps": 4, **wishes})
    assert graph.model.spy.rows == 0


@pytest.mark.parametrize("case", ["ancestral", "brownian", "paths", "final_sigmas"])
@torch.inference_mode()
def test_auto_does_without_drafts_there_and_says_why(case):
    settings, search, wishes, said = REFUSED[case]
    graph = graph_of(**settings)
    plain = graph.search(search, candidates=8, **wishes)
    found = graph.search(search, candidates=8, draft_steps=-1, **wishes)
    assert found.recipes == plain.recipes and "drafts" not in found.report["images"][0]
    assert (
        [note for note in found.report["notes"] if note not in plain.report["notes"]]
        == [note for note in found.report["notes"] if note.startswith("Nothing was drafted. ")]
        != []
    )


@pytest.mark.parametrize("name", ["res_multistep", "er_sde"])
@torch.inference_mode()
def test_whether_a_sampler_draws_is_found_out(name):
    """Both take a noise sampler, but only the second uses what it draws."""
    graph = graph_of("EPS", sampler_name=name)
    if name == "er_sde":
        with pytest.raises(ValueError, match="er_sde draws noise"):
            graph.search(draft_steps=4)
    else:
        found, image = drafted(graph)
        torch.testing.assert_close(found.latent["samples"], graph.stock(found.seed), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_one_candidate_is_the_plain_sampler():
    graph = graph_of()
    found, image = drafted(graph, candidates=1)
    assert "drafts" not in image and found.report["totals"]["nfe"] == STEPS
    torch.testing.assert_close(found.latent["samples"], graph.stock(11), atol=1e-6, rtol=0)
    assert any("nothing was drafted" in note for note in found.report["notes"])


# -- by the budget -----------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_auto_says_what_it_chose_and_the_values_do_it_again():
    graph = graph_of(steps=30)
    found, image = drafted(graph, draft_steps=-1, candidates=4)
    chosen = image["drafts"]
    assert 3 <= chosen["draft_steps"] < 15 and len(image["candidates"]) > 4
    assert chosen["chosen"] in found.report["notes"] and f"drafts of {chosen['draft_steps']} steps" in chosen["chosen"]  # fmt: skip
    values = {name: chosen[name] for name in ("draft_steps", "draft_cfg", "verify_top")}
    again, _ = drafted(graph, candidates=4, **values)
    assert again.recipes == found.recipes and torch.equal(again.images, found.images)


@torch.inference_mode()
def test_auto_has_no_drafts_where_they_do_not_pay():
    graph = graph_of(steps=8)
    found, image = drafted(graph, draft_steps=-1, candidates=2)
    plain, _ = drafted(graph, draft_steps=0, candidates=2)
    assert found.recipes == plain.recipes and "drafts" not in image
    assert any("no drafts, 2 samples of all 8 steps" in note for note in found.report["notes"])
    for steps in (1, 3):
        assert "drafts" not in drafted(graph_of(steps=steps), draft_steps=-1)[1]


@torch.inference_mode()
def test_the_search_auto_drafts_by_itself():
    graph = graph_of(steps=30)
    found, image = drafted(graph, Auto(), draft_steps=0, candidates=MOST + 1)
    by_hand, _ = drafted(graph, RandomSearch(), draft_steps=-1, candidates=MOST + 1)
    assert found.recipes == by_hand.recipes and image["drafts"]["finals"]
    assert found.report["search"] == {"name": "auto"} and image["settings"]["name"] == "random search"
    (line,) = [note for note in found.report["notes"] if note.startswith("Search: Auto took random search.")]
    assert image["drafts"]["chosen"] in line
    for candidates in (4, 20):  # the user's word stands
        _, image = drafted(graph, Auto(), draft_steps=5, candidates=candidates)
        assert image["drafts"]["draft_steps"] == 5


@torch.inference_mode()
def test_the_search_auto_takes_paths_where_they_have_been_shown_to_win():
    graph = graph_of()
    found, image = drafted(graph, Auto(), draft_steps=0, candidates=4)
    by_hand, _ = drafted(graph, PATHS, draft_steps=0, candidates=4)
    assert found.recipes == by_hand.recipes and "drafts" not in image
    assert image["search_nfe"] <= 4 * len(graph.sigmas[1:])
    said = "Search: Auto took search over paths, one step a round: the budget pays for 4 whole images"
    assert any(note.startswith(said) for note in found.report["notes"])
    again = graph.search(Replay(tuple(found.recipes)))
    torch.testing.assert_close(again.latent["samples"], found.latent["samples"], atol=1e-4, rtol=0)
    for one, candidates in ((graph, FEWEST - 1), (graph, MOST + 1), (graph_of(steps=9), 4)):
        _, image = drafted(one, Auto(), draft_steps=0, candidates=candidates)
        assert image["settings"]["name"] == "random search"


@pytest.mark.parametrize("case", ["ancestral", "final_sigmas", "follows", "ends in noise", "cannot be cut"])
@torch.inference_mode()
def test_the_search_auto_takes_no_paths_where_noise_cannot_be_put_back(case):
    settings, _, wishes, _ = REFUSED.get(case, ({}, None, {}, ""))
    graph = graph_of(**({"sampler_name": "dpm_fast"} if case == "cannot be cut" else settings))
    if case == "follows":
        wishes = {"verifier": SelfSupervised(Pixels())}
    if case == "ends in noise":
        wishes = {"sigmas": graph.sigmas[:11]}
    found = graph.search(Auto(), **{"candidates": 8, **wishes})
    assert found.report["images"][0]["settings"]["name"] == "random search"
    (line,) = [note for note in found.report["notes"] if note.startswith("Search: Auto took random search.")]
    assert ("Search over paths is not possible here: The sampler dpm_fast" in line) == (
        case == "cannot be cut"
    )


@pytest.mark.parametrize("case", ["ancestral", "final_sigmas", "one"])
@torch.inference_mode()
def test_the_search_auto_goes_without_drafts_where_there_can_be_none(case):
    settings, _, wishes, _ = REFUSED.get(case, ({}, None, {"candidates": 1}, ""))
    graph = graph_of(**settings)
    found = graph.search(Auto(), **{"candidates": 4, **wishes})
    plain = graph.search(**{"candidates": 4, **wishes})
    assert found.recipes == plain.recipes and torch.equal(found.images, plain.images)
    assert any(note.startswith("Search: Auto took random search.") for note in found.report["notes"])


# -- stopped, cut short, broken ----------------------------------------------------------------------------------------------


class StopsAfter(Stopper):
    """Told to stop, `times` times, once the network has run for so many rows."""

    def __init__(self, graph, rows, times=1):
        super().__init__()
        self.spy, self.rows, self.times = graph.model.spy, rows, times

    @property
    def asked(self):
        return self.times if self.spy.rows >= self.rows else 0

    @asked.setter
    def asked(self, value):
        pass


@torch.inference_mode()
def test_a_stopped_search_renders_its_best_draft():
    graph = graph_of()
    found, image = drafted(graph, stopper=StopsAfter(graph, 30), batch_size=1, candidates=8)
    assert len(image["candidates"]) < 10 and [f["draft"] for f in image["drafts"]["finals"]] == image["ranking"][:1]  # fmt: skip
    torch.testing.assert_close(found.latent["samples"], graph.stock(found.seed), atol=1e-6, rtol=0)


@torch.inference_mode()
def test_a_search_that_is_told_to_stop_twice_hands_on_a_draft():
    graph = graph_of()
    found, image = drafted(graph, stopper=StopsAfter(graph, 30, 2), batch_size=1, candidates=8)
    assert image["drafts"]["finals"] == [] and image["final_nfe"] == 0
    stock = with_steps(graph, 4).stock(found.seed)
    torch.testing.assert_close(found.latent["samples"], stock, atol=1e-4, rtol=0)
    assert any("The image is a draft" in note for note in found.report["notes"])
    assert image["winner"]["scores"] == image["candidates"][image["ranking"][0]]["scores"]


@torch.inference_mode()
def test_a_final_render_of_nan_is_left_aside():
    """A sampler that breaks one seed, but not at four steps."""
    euler = comfy.samplers.ksampler("euler").sampler_function
    broken = []

    def sample_fragile(model, x, sigmas, extra_args=None, callback=None, disable=None):
        first = float(x.flatten()[0])
        x = euler(model, x, sigmas, extra_args=extra_args, callback=callback, disable=disable)
        return x * torch.nan if len(sigmas) == STEPS + 1 and first in broken else x

    graph = graph_of(own_sampler=comfy.samplers.KSAMPLER(sample_fragile))
    found, image = drafted(graph, candidates=6)
    seeds = [image["candidates"][one["draft"]]["noise"]["seed"] for one in image["drafts"]["finals"]]
    noise = comfy.sample.prepare_noise(graph.latent["samples"], found.seed)
    broken.append(float((noise * graph.sigmas[0]).flatten()[0]))
    again, image = drafted(graph, candidates=6)
    assert again.seed == next(seed for seed in seeds if seed != found.seed)
    assert any("was left aside" in note for note in again.report["notes"])
    assert bool(again.latent["samples"].isfinite().all())


@torch.inference_mode()
def test_a_judge_that_fails_at_last_loses_nothing():
    class Tired(TargetVerifier):
        calls = 0

        def score(self, batch):
            self.calls += len(batch.images)
            if self.calls > 6:
                raise RuntimeError("tired")
            return super().score(batch)

    graph = graph_of()
    found, image = drafted(graph, verifier=Tired(PixelVAE().decode(some_latent(seed=1))[0]))
    assert len(image["candidates"]) == 6 and image["drafts"]["finals"][0]["scores"] == [None]
    torch.testing.assert_close(found.latent["samples"], graph.stock(found.seed), atol=1e-6, rtol=0)
    assert found.seed == image["candidates"][image["ranking"][0]]["noise"]["seed"]


class Fragile(PixelVAE):
    """Cannot decode some latents."""

    broken = ()

    def decode(self, latents):
        if any(torch.allclose(one, other, atol=1e-3) for one in latents for other in self.broken):
            raise RuntimeError("no room")
        return super().decode(latents)


@pytest.mark.parametrize("place", [0, 1, 2])
@torch.inference_mode()
def test_a_final_render_that_fails_costs_the_others_nothing(place):
    graph, vae = graph_of(), Fragile()
    wishes = {"candidates": 8, "verify_top": 3, "draft_steps": 4, "vae": vae, "verifier": target_judge()}
    whole = graph.search(**wishes).report["images"][0]
    expected = [one["draft"] for one in whole["drafts"]["finals"]]
    seeds = [whole["candidates"][id]["noise"]["seed"] for id in expected]
    vae.broken = graph.stock(seeds[place])
    found = graph.search(**wishes)
    image = found.report["images"][0]
    left = [one for i, one in enumerate(whole["drafts"]["finals"]) if i != place]
    assert [(one["draft"], one["scores"]) for one in image["drafts"]["finals"]] == [
        (one["draft"], one["scores"]) for one in left
    ]
    assert image["winner"]["scores"] == max(one["scores"] for one in left)
    torch.testing.assert_close(found.latent["samples"], graph.stock(found.seed), atol=1e-6, rtol=0)
    (note,) = [note for note in found.report["notes"] if "no room" in note]
    assert note.startswith(f"The final render of candidate {expected[place]} failed (RuntimeError: ")


@torch.inference_mode()
def test_where_every_final_render_fails_the_image_is_the_draft():
    graph, vae = graph_of(), Fragile()
    vae.broken = torch.cat([graph.stock(seed) for seed in range(11, 30)])
    found = graph.search(candidates=8, draft_steps=4, vae=vae, verifier=target_judge())
    assert found.report["images"][0]["drafts"]["finals"] == []
    stock = with_steps(graph, 4).stock(found.seed)
    torch.testing.assert_close(found.latent["samples"], stock, atol=1e-4, rtol=0)
    assert any("The image is a draft: no render" in note for note in found.report["notes"])
