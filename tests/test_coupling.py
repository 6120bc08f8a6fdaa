"""Candidates of a batch that change each other: seen, told, and sampled so that they do not. What cannot change others stays fast."""

import gc

import comfy.model_management as mm
import comfy.sample
import comfy.samplers
import pytest
import tiny_models as tiny
import torch
from graphs import Graph, evaluated, half_mask, some_latent
from hypothesis import given, settings
from hypothesis import strategies as st
from noisesearch.sampling import coupling as coupling_module
from noisesearch.sampling.coupling import TRIED
from noisesearch.search.algorithms import RandomSearch, SearchOverPaths, ZeroOrder
from noisesearch.search.algorithms.base import BudgetTooSmall, fresh
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Rollout

TOGETHER, GUIDANCE, ALONE = "together", "guidance row by row", "row by row"
SEED, STEPS = 7, 6


def patched(function, family="EPS", before=False, **settings):
    """A graph whose model has one more CFG function: (prediction, args) -> prediction."""
    graph = Graph.mixture(family, **settings)
    graph.model = graph.model.clone()
    if before:
        graph.model.set_model_sampler_pre_cfg_function(
            lambda args: [function(out, args) for out in args["conds_out"]]
        )
    else:
        graph.model.set_model_sampler_post_cfg_function(lambda args: function(args["denoised"], args))
    return graph


def harmless(x, args):
    return 0.9 * x


def run(graph, count=5, rows=4, **parts):
    """The evaluator after `count` candidates, each of which equals its lone stock run."""
    evaluator = graph.evaluator(rows=rows, **parts)
    outcomes = evaluated(evaluator, [fresh(SEED + i) for i in range(count)])
    for i in range(count):
        torch.testing.assert_close(
            evaluator.shelf[i].latent,
            graph.stock(SEED + i),
            atol=1e-4,
            rtol=0,
            msg=lambda m: f"candidate {i}: {m}",
        )
    assert evaluator.ledger.nfe == sum(outcome.nfe for outcome in outcomes)
    return evaluator


def batches(graph):
    """Candidates in each call of the network (with CFG: two rows each)."""
    return [rows // 2 for rows in graph.model.spy.batches]


# -- what is free, and what a trial costs ---------------------------------------------------------------------------------


@torch.inference_mode()
def test_nothing_attached_costs_nothing():
    graph = Graph.mixture("CONST")
    evaluator = graph.evaluator(rows=4)
    evaluated(evaluator, [fresh(SEED + i) for i in range(8)])
    assert batches(graph) == [4] * 2 * STEPS and evaluator.ledger.check_nfe == 0
    assert evaluator.coupling.wanted(STEPS) == evaluator.coupling.held == 0
    assert (evaluator.coupling.rung, evaluator.coupling.why) == (
        TOGETHER,
        "nothing is attached that could change other candidates",
    )


@torch.inference_mode()
def test_a_trial_costs_one_sample_once_per_model():
    graph = patched(harmless)
    first = run(graph, count=9, rows=4)
    assert first.ledger.check_nfe == STEPS
    assert batches(graph)[: 2 * STEPS + 3] == [1] * STEPS + [3] * STEPS + [4] * 3
    assert first.coupling.rung == TOGETHER and "tried, and candidates change nothing" in first.coupling.why
    graph.model.spy.reset()
    again = graph.evaluator(rows=4)
    evaluated(again, [fresh(SEED + i) for i in range(8)])
    assert again.ledger.check_nfe == 0 and batches(graph) == [4] * 2 * STEPS
    assert run(patched(harmless)).ledger.check_nfe == STEPS  # another model


@torch.inference_mode()
def test_what_was_tried_holds_for_what_was_tried_only():
    """The model and the graph's settings: another CFG, size or schedule that goes beyond the levels tried is tried anew."""
    graph = patched(harmless)
    run(graph)
    costs = {
        "same": {},
        "fewer steps": {"steps": 3},
        "another cfg": {"cfg": 2.0},
        "another sampler": {"sampler_name": "heun"},
    }
    seen = {}
    for name, change in costs.items():
        other = Graph(graph.model, graph.positive, graph.negative, graph.latent, **change)
        seen[name] = run(other).ledger.check_nfe
    assert seen == {"same": 0, "fewer steps": 0, "another cfg": STEPS, "another sampler": 2 * STEPS - 1}
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    part = patched(harmless, latent=latent, denoise=0.5)
    assert run(part).ledger.check_nfe == STEPS
    whole = Graph(part.model, part.positive, part.negative, latent)
    assert run(whole).ledger.check_nfe == STEPS  # from higher levels than before


@torch.inference_mode()
def test_a_verdict_goes_with_its_model():
    graph = patched(harmless)
    run(graph)
    count = len(coupling_module._VERDICTS)
    del graph
    gc.collect()
    assert len(coupling_module._VERDICTS) < count


@torch.inference_mode()
def test_samples_of_a_latent_batch_share_a_verdict():
    graph = patched(harmless, latent={"samples": some_latent(2)})
    costs = []
    for index in range(2):
        evaluator = graph.evaluator(rows=4, index=index)
        evaluated(evaluator, [fresh(SEED + i) for i in range(4)])
        costs.append(evaluator.ledger.check_nfe)
    assert costs == [STEPS, 0]


@pytest.mark.parametrize("rows, count", [(1, 4), (4, 1), (4, 2)])
@torch.inference_mode()
def test_nothing_is_tried_where_no_two_could_share_a_batch(rows, count):
    graph = patched(harmless)
    assert run(graph, count=count, rows=rows).ledger.check_nfe == 0
    assert set(batches(graph)) == {1}


@torch.inference_mode()
def test_two_rows_that_fit_are_tried_with_two():
    graph = patched(harmless)
    evaluator = run(graph, count=6, rows=2)
    assert (
        batches(graph)[: 3 * STEPS] == [1] * STEPS + [2] * 2 * STEPS and evaluator.ledger.check_nfe == STEPS
    )
    assert run(graph, count=6, rows=4).ledger.check_nfe == STEPS  # two were tried, not three


# -- no false alarms ------------------------------------------------------------------------------------------------------

NAMES = [
    "euler",
    "heun",
    "dpmpp_2m",
    "euler_ancestral",
    "dpmpp_sde",
    "euler_cfg_pp",
    "uni_pc",
    "ddim",
    "lcm",
    "dpm_fast",
]


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_what_changes_no_other_row_shares_batches_with_every_sampler(name, masked):
    latent = {"samples": some_latent(), **({"noise_mask": half_mask()} if masked else {})}
    evaluator = run(patched(harmless, latent=latent, sampler_name=name))
    assert evaluator.coupling.rung == TOGETHER, evaluator.coupling.why
    assert evaluator.ledger.check_nfe == evaluator.cost(fresh(0), None)


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "euler_ancestral"])
@torch.inference_mode()
def test_pieces_are_tried_when_two_of_a_kind_come(name):
    """Three generations of a path search: each goes to levels that were not tried before, and pays for one ghost."""
    graph = patched(harmless, sampler_name=name, steps=12)
    lone = patched(harmless, sampler_name=name, steps=12)
    evaluators = [graph.evaluator(rows=4), lone.evaluator(rows=1)]
    costs = []
    for evaluator in evaluators:
        kinds = [
            [Rollout(NoiseRecipe(i), stop=0.6) for i in range(4)],
            [Rollout(NoiseRecipe(10 + i), i, 0.7, 0.3) for i in range(4)],
            [
                Rollout(NoiseRecipe(20 + i), 4 + i, 0.5, 0.4) for i in range(4)
            ],  # levels that the round before has tried
            [Rollout(parent=4 + i) for i in range(4)],
        ]
        first = 0
        for rollouts in kinds:
            before = evaluator.ledger.check_nfe
            outcomes = evaluated(evaluator, rollouts, first)
            costs.append((evaluator.ledger.check_nfe - before, outcomes[0].nfe))
            first += len(rollouts)
    assert [check for check, _ in costs[4:]] == [0] * 4
    assert [check for check, _ in costs[:4]] == [costs[0][1], costs[1][1], 0, costs[3][1]]
    assert evaluators[0].coupling.rung == TOGETHER and 4 in {rows for rows in batches(graph)}
    for i in range(12, 16):
        torch.testing.assert_close(
            evaluators[0].shelf[i].latent, evaluators[1].shelf[i].latent, atol=1e-4, rtol=0
        )


# -- what couples ---------------------------------------------------------------------------------------------------------


def late(x, args):
    """Couples at the last level only."""
    return x + 0.3 * x.mean(0, keepdim=True) if float(args["sigma"].max()) < 0.6 else x


COUPLES = {
    "mean": lambda x, args: x + 0.1 * x.mean(0, keepdim=True),
    "norm": lambda x, args: x / (1.0 + 0.01 * x.norm()),
    "first row": lambda x, args: x + 0.1 * x[:1],
    "last row": lambda x, args: x + 0.1 * x[-1:],
    "place": lambda x, args: (
        x * torch.linspace(0.5, 1.0, len(x)).reshape(-1, 1, 1, 1) if len(x) > 1 else 0.5 * x
    ),
    "peak in the middle": lambda x, args: (
        x * (1.0 + torch.hann_window(len(x), periodic=False)).reshape(-1, 1, 1, 1) if len(x) > 1 else x
    ),
    "order": lambda x, args: x + 0.1 * x.roll(1, 0) if len(x) > 1 else 1.1 * x,
    "largest": lambda x, args: x.clamp(max=0.8 * float(x.max())),
    "only in a batch": lambda x, args: x if len(x) == 1 else 1.05 * x,
    "late": late,
}


@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
@pytest.mark.parametrize("name", COUPLES)
@torch.inference_mode()
def test_cfg_functions_that_couple_are_given_one_row_at_a_time(name, before):
    graph = patched(COUPLES[name], before=before)
    evaluator = run(graph)
    assert evaluator.coupling.rung == GUIDANCE
    assert "of test_coupling.py: in a batch, a prediction at sigma" in evaluator.coupling.why
    assert max(batches(graph)) == TRIED  # the network still takes batches
    assert evaluator.ledger.check_nfe - STEPS in given_up(name) and evaluator.ledger.lost_nfe == 0


def given_up(name):
    """NFE of the batch that shows it: the largest value may be the ghost's own for a while."""
    calls = {"late": [STEPS], "largest": range(1, STEPS)}.get(name, [1])
    return [TRIED * count for count in calls]


@pytest.mark.parametrize("name", COUPLES)
@torch.inference_mode()
def test_what_couples_elsewhere_runs_row_by_row(name):
    class Guider(comfy.samplers.CFGGuider):
        def predict_noise(self, x, timestep, model_options=None, seed=None):
            return COUPLES[name](super().predict_noise(x, timestep, model_options, seed), {"sigma": timestep})

    graph = Graph.mixture("EPS")

    def guider():
        made = Guider(graph.model)
        made.set_conds(graph.positive, graph.negative)
        made.set_cfg(4.0)
        return made

    evaluator = graph.evaluator(rows=4, guider=guider())
    evaluated(evaluator, [fresh(SEED + i) for i in range(5)])
    assert (
        evaluator.coupling.rung == ALONE
        and "Guider.predict_noise of test_coupling.py" in evaluator.coupling.why
    )
    assert evaluator.ledger.check_nfe in given_up(name)
    for i in range(5):
        alone = guider().sample(
            comfy.sample.prepare_noise(graph.latent["samples"], SEED + i),
            graph.latent["samples"],
            graph.sampler,
            graph.sigmas,
            seed=SEED + i,
            disable_pbar=True,
        )
        torch.testing.assert_close(evaluator.shelf[i].latent, alone, atol=1e-5, rtol=0)
    # and is known from the beginning next time
    graph.model.spy.reset()
    again = graph.evaluator(rows=4, guider=guider())
    evaluated(again, [fresh(SEED + i) for i in range(3)])
    assert set(batches(graph)) == {1} and again.ledger.check_nfe == 0 and again.coupling.rung == ALONE


@torch.inference_mode()
def test_random_numbers_for_a_prediction_are_seen_in_a_lone_run():
    """Each candidate draws what it would draw alone, and finding that out costs nothing."""
    graph = patched(lambda x, args: x + 0.1 * torch.rand(1))
    evaluator = run(graph)
    assert evaluator.coupling.rung == ALONE and evaluator.ledger.check_nfe == 0
    assert "random numbers are drawn for a prediction" in evaluator.coupling.why
    assert set(batches(graph)) == {1}


@torch.inference_mode()
def test_each_lone_piece_draws_from_a_seed_of_its_own():
    """Whatever was drawn before it, so that replaying a lineage gives it again."""
    states = []
    for order in ([0, 1, 2], [2, 0, 1]):
        graph = patched(lambda x, args: x + 0.1 * torch.rand(1), steps=8)
        evaluator = graph.evaluator(rows=4)
        evaluated(evaluator, [Rollout(NoiseRecipe(i), stop=0.5, score=False) for i in range(3)])
        evaluated(evaluator, [Rollout(parent=i) for i in order], first=3)
        states.append({parent: evaluator.shelf[3 + place].latent for place, parent in enumerate(order)})
    for i in range(3):
        assert torch.equal(states[0][i], states[1][i])


@torch.inference_mode()
def test_what_may_skip_work_runs_row_by_row_untried():
    graph = Graph.mixture("EPS")
    graph.model = graph.model.clone()
    graph.model.set_model_unet_function_wrapper(
        lambda apply, args: apply(args["input"], args["timestep"], **args["c"])
    )
    evaluator = run(graph)
    assert evaluator.coupling.rung == ALONE and evaluator.ledger.check_nfe == 0
    assert "may leave work out by what it sees" in evaluator.coupling.why and set(batches(graph)) == {1}


# -- errors ---------------------------------------------------------------------------------------------------------------


def needs_one(x, args):
    if x.flatten(1).norm(dim=1) > 0:  # ambiguous for several rows
        return 0.9 * x


@torch.inference_mode()
def test_an_error_that_only_a_batch_makes_ends_no_search():
    evaluator = run(patched(needs_one))
    assert evaluator.coupling.rung == GUIDANCE and evaluator.ledger.lost_nfe == 0
    assert (
        "an error that only a batch makes, 'RuntimeError: Boolean value of Tensor" in evaluator.coupling.why
    )


@pytest.mark.parametrize("attached", [False, True], ids=["plain", "patched"])
@torch.inference_mode()
def test_an_error_of_a_batch_is_tried_once_alone(monkeypatch, attached):
    """Also where nothing is attached, in the middle of a run."""

    class Ill(list):
        def append(self, rows):
            super().append(rows)
            if rows > 2 and len(self) > STEPS + 2:
                raise RuntimeError("shapes do not fit")

    graph = patched(harmless) if attached else Graph.mixture("EPS")
    graph.model.spy.batches = Ill()
    evaluator = run(graph, count=9)
    assert evaluator.coupling.rung == ALONE
    assert "an error that only a batch makes, 'RuntimeError: shapes do not fit'" in evaluator.coupling.why
    assert (evaluator.ledger.check_nfe, evaluator.ledger.lost_nfe) == (
        (2 * TRIED, 0) if attached else (0, 2 * 4)
    )


@pytest.mark.parametrize("attached", [False, True], ids=["plain", "patched"])
@torch.inference_mode()
def test_an_error_that_a_lone_run_makes_too_is_raised(monkeypatch, attached):
    graph = patched(harmless) if attached else Graph.mixture("EPS")
    evaluator = graph.evaluator(rows=4)
    evaluated(evaluator, [fresh(1)])
    rung, why = evaluator.coupling.rung, evaluator.coupling.why

    def broken(*args, **kwargs):
        raise ValueError("a broken model")

    monkeypatch.setattr(graph.model.model, "apply_model", broken)
    with pytest.raises(ValueError, match="a broken model"):
        evaluated(evaluator, [fresh(SEED + i) for i in range(4)], first=1)
    assert (evaluator.coupling.rung, evaluator.coupling.why) == (rung, why)


@torch.inference_mode()
def test_a_lack_of_memory_while_trying_is_no_verdict(monkeypatch):
    graph = patched(harmless)
    evaluator, apply, calls = graph.evaluator(rows=4), graph.model.model.apply_model, []

    def short(x, *args, **kwargs):
        calls.append(x.shape[0])
        if x.shape[0] == 2 * TRIED and len(calls) == STEPS + 3:
            raise mm.OOM_EXCEPTION("out of memory")
        return apply(x, *args, **kwargs)

    monkeypatch.setattr(graph.model.model, "apply_model", short)
    evaluated(evaluator, [fresh(SEED + i) for i in range(5)])
    assert evaluator.coupling.rung == TOGETHER and evaluator.ledger.lost_nfe == 2 * TRIED
    assert evaluator.batch.rows == 1 and evaluator.ledger.check_nfe == 0


@torch.inference_mode()
def test_cancelling_a_trial_cancels():
    graph = patched(lambda x, args: x if len(x) == 1 else _interrupt())
    with pytest.raises(mm.InterruptProcessingException):
        run(graph)


def _interrupt():
    raise mm.InterruptProcessingException()


@torch.inference_mode()
def test_nobody_eats_what_was_found_out():
    """A guider that catches every Exception around its sampling, and gives zeros for it."""

    class Greedy(comfy.samplers.CFGGuider):
        def inner_sample(self, noise, *args, **kwargs):
            try:
                return super().inner_sample(noise, *args, **kwargs)
            except Exception:
                return torch.zeros_like(noise)

        def predict_noise(self, x, timestep, model_options=None, seed=None):
            return super().predict_noise(x, timestep, model_options, seed) + 0.1 * x.mean(0, keepdim=True)

    graph = Graph.mixture("EPS")
    guider = Greedy(graph.model)
    guider.set_conds(graph.positive, graph.negative)
    evaluator = graph.evaluator(rows=4, guider=guider)
    evaluated(evaluator, [fresh(SEED + i) for i in range(4)])
    assert evaluator.coupling.rung == ALONE and all(
        float(evaluator.shelf[i].latent.std()) > 0 for i in range(4)
    )


# -- arithmetic that depends on the size of a batch -------------------------------------------------------------------------


def coarse_graph(function):
    model = tiny.unet(torch.bfloat16).clone()
    model.set_model_sampler_post_cfg_function(lambda args: function(args["denoised"], args))
    return Graph(model, tiny.prompt(1), tiny.prompt(2), {"samples": torch.zeros(1, 4, 16, 16)})


@pytest.mark.parametrize("noise", [0.0, 0.02], ids=["as it is", "as on a GPU"])
@torch.inference_mode()
def test_coarse_arithmetic_is_measured_and_forgiven(noise):
    """In half precision a batch and a lone run differ by rounding; twice the same row says how much that is."""

    def rounded(x, args):
        share = noise * float(args["sigma"][0]) / 14.6
        return x * (1.0 + share * (len(x) > 1))

    evaluator = coarse_graph(rounded).evaluator(rows=4)
    evaluated(evaluator, [fresh(SEED + i) for i in range(4)])
    assert evaluator.coupling.coarse and evaluator.coupling.rung == TOGETHER, evaluator.coupling.why
    assert evaluator.ledger.check_nfe == STEPS + 4  # the ghost, and a pair at either end


@pytest.mark.parametrize("name", ["mean", "largest", "late"])
@torch.inference_mode()
def test_coarse_arithmetic_hides_no_coupling(name):
    evaluator = coarse_graph(COUPLES[name]).evaluator(rows=4)
    evaluated(evaluator, [fresh(SEED + i) for i in range(4)])
    assert evaluator.coupling.rung == GUIDANCE, evaluator.coupling.why


# -- the budget -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["harmless", "mean", "late", "guider"])
@pytest.mark.parametrize("allowance", range(0, 32, 3))
@torch.inference_mode()
def test_checks_keep_to_their_allowance(name, allowance):
    graph = patched(harmless if name == "harmless" else COUPLES[name if name != "guider" else "mean"])
    evaluator = graph.evaluator(rows=4)
    evaluator.coupling.allow(allowance)
    assert evaluator.coupling.held == allowance
    evaluated(evaluator, [fresh(SEED + i) for i in range(6)])
    assert evaluator.ledger.check_nfe <= allowance
    assert evaluator.coupling.held == evaluator.ledger.check_nfe
    for i in range(6):
        torch.testing.assert_close(evaluator.shelf[i].latent, graph.stock(SEED + i), atol=1e-4, rtol=0)
    if allowance < TRIED * STEPS:
        assert evaluator.ledger.check_nfe == 0 and evaluator.coupling.rung == ALONE
        assert "the budget leaves too little to find out" in evaluator.coupling.why


@torch.inference_mode()
def test_what_is_wanted_is_enough_to_find_out():
    for name in ("mean", "place"):
        evaluator = patched(COUPLES[name]).evaluator(rows=4)
        evaluator.coupling.allow(evaluator.coupling.wanted(STEPS))
        evaluated(evaluator, [fresh(SEED + i) for i in range(6)])
        assert evaluator.coupling.rung == GUIDANCE


SEARCHES = {"random": RandomSearch(), "zero-order": ZeroOrder(3, 0.9), "paths": SearchOverPaths(2, 2)}


@pytest.mark.slow
@given(
    name=st.sampled_from(["harmless", "mean", "late"]),
    search=st.sampled_from(sorted(SEARCHES)),
    budget=st.integers(20, 200),
    rows=st.integers(1, 5),
)
@settings(max_examples=40, deadline=None)
@torch.inference_mode()
def test_the_budget_holds_with_checks(name, search, budget, rows):
    graph = patched(harmless if name == "harmless" else COUPLES[name])
    try:
        found = graph.search(SEARCHES[search], budget_nfe=budget, batch_size=rows)
    except BudgetTooSmall:
        assert graph.model.spy.calls == 0
        plain = Graph.mixture("EPS")
        with pytest.raises(BudgetTooSmall):  # nor does it do without checks
            plain.search(SEARCHES[search], budget_nfe=budget, batch_size=rows)
        return
    totals = found.report["totals"]
    assert totals["lost_nfe"] == 0
    assert graph.model.spy.rows == 2 * (totals["nfe"] + totals["check_nfe"]) <= 2 * budget


@pytest.mark.parametrize("name", ["harmless", "mean", "late"])
@torch.inference_mode()
def test_checks_come_beside_the_candidates_that_were_asked_for(name):
    graph = patched(harmless if name == "harmless" else COUPLES[name])
    found = graph.search(candidates=8, batch_size=4)
    image, totals = found.report["images"][0], found.report["totals"]
    assert len(image["candidates"]) == 8 and totals["nfe"] == 8 * STEPS
    assert 0 < totals["check_nfe"] <= image["budget_nfe"] - 8 * STEPS
    plain = Graph.mixture("EPS").search(candidates=8, batch_size=4).report
    assert (plain["images"][0]["budget_nfe"], plain["totals"]["check_nfe"]) == (8 * STEPS, 0)


# -- the winner ---------------------------------------------------------------------------------------------------------------


def test_a_winner_that_came_out_otherwise_is_told_of():
    graph = Graph.mixture("EPS")
    evaluator = graph.evaluator(rows=4)
    searched = torch.randn(1, 4, 8, 8)
    assert evaluator.coupling.agree(searched, searched + 1e-3 * torch.randn(1, 4, 8, 8)) == ""
    assert evaluator.coupling.rung == TOGETHER
    note = evaluator.coupling.agree(searched, searched + 0.3 * torch.randn(1, 4, 8, 8))
    assert "changed each other" in note and "rendered alone" in note
    later = graph.evaluator(rows=4)
    assert later.coupling.rung == ALONE and "a winner came out otherwise" in later.coupling.why
    assert later.coupling.agree(searched, 2 * searched) == ""  # they ran alone already
