"""What every search algorithm owes the driver, the user and a resumed run, as a class to inherit.

    class TestAnnealing(SearchContract):
        search = Annealing(temperature=0.5)

Half of it runs on a model made of hashes, which counts and refuses; half goes the way of the nodes (plan, run, report, replay) on a
model whose samples are known. Needs ComfyUI on sys.path and the pack imported as `noisesearch`, as tests/conftest.py does it.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from closed_form import FAMILIES, PixelVAE, ScaledLatents, TargetVerifier
from fake_evaluator import FakeEvaluator
from graphs import Graph, half_mask, some_latent
from noisesearch.search.algorithms import Replay
from noisesearch.search.algorithms.base import as_search
from noisesearch.search.driver import BudgetTooSmall, Limits, run
from noisesearch.search.rollout import lineage
from noisesearch.search.selection import METHODS, Comparison
from noisesearch.verifiers.ensemble import Ensemble


def search_on_hashes(settings, seed=7, budget=600, comparison=None, evaluator=None, **options):
    """(result, evaluator) of a search on the fake model; options: of FakeEvaluator."""
    evaluator = evaluator or FakeEvaluator(**options)
    return run(settings, seed, evaluator, comparison or Comparison(), Limits(budget)), evaluator


def digest(settings) -> str:
    """Of everything a search asked for."""
    return hashlib.sha256(repr(search_on_hashes(settings, verifiers=3)[1].asked).encode()).hexdigest()


class Watched:
    """A search whose generators say whether they were closed."""

    def __init__(self, settings):
        self.settings, self.name, self.closed = settings, settings.name, []
        self.keeps, self.preview = as_search(settings).keeps, as_search(settings).preview

    def plan(self, terms):
        self.settings = as_search(self.settings).plan(terms)
        return self

    def begin(self, seed, best):
        try:
            yield from self.settings.begin(seed, best)
        finally:
            self.closed.append(True)


class Red:
    """A second judge for the mixture's pictures, which can be blind to some of them."""

    def __init__(self, name="red", blind=0.0):
        self.name, self.blind = name, blind

    def score(self, batch):
        scores = batch.images.flatten(1).mean(1)
        noise = (scores * 1e4).frac().abs()
        return torch.where(noise < self.blind, torch.nan, scores)


class SearchContract:
    """search: the settings. budget: NFE on the fake model, of 10 steps a sample. nfe: NFE on the real path, of 6 steps a sample."""

    search: Any
    budget = 600
    nfe = 130

    def on_hashes(self, **options):
        return search_on_hashes(self.search, **{"budget": self.budget, **options})

    # -- requests ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("verifiers", [1, 3])
    def test_requests_are_ones_that_a_sampler_can_run(self, verifiers):
        """The fake evaluator refuses parents that have not run, empty pieces, and going up without a noise."""
        result, evaluator = self.on_hashes(verifiers=verifiers)
        assert result.rounds and not result.faults
        for outcome in evaluator.outcomes.values():
            assert outcome.rollout.parent is None or outcome.rollout.parent < outcome.id
            noises = [rollout.noise for rollout in lineage(evaluator.outcomes, outcome.id) if rollout.noise]
            assert len(noises) == len(set(noises)), "the same noise twice along one path is not noise"
            assert outcome.rollout.score or not outcome.finished, "a finished sample must be scored"

    def test_with_room_it_finishes_samples_by_itself(self):
        result, evaluator = self.on_hashes(budget=5 * self.budget)
        asked = [id for request in result.rounds for id in request]
        assert any(evaluator.outcomes[id].finished for id in asked)
        assert asked == list(range(len(evaluator.outcomes)))

    def test_the_same_seed_and_outcomes_give_the_same_requests(self):
        """However they come in waves."""
        first, second = self.on_hashes(wave=1)[1], self.on_hashes(wave=50)[1]
        assert first.asked == second.asked and len(first.outcomes) >= 1

    def test_another_seed_gives_other_requests(self):
        """Not one noise in common, when the seeds are far apart (candidate i of a random search has seed + i)."""

        def noises(seed):
            asked = self.on_hashes(seed=seed)[1].asked
            return {rollout.noise for request in asked for _, rollout in request if rollout.noise}

        assert noises(7) and not noises(7) & noises(10_007)

    @pytest.mark.parametrize("verifiers", [1, 3])
    def test_recorded_outcomes_replayed_give_the_same_requests(self, verifiers):
        """A resumed search is told what a journal kept: equal outcomes, other objects."""
        first = self.on_hashes(verifiers=verifiers)[1]

        class Recorded(FakeEvaluator):
            def _run(self, id, rollout):
                super()._run(id, rollout)
                assert rollout == first.outcomes[id].rollout
                return replace(first.outcomes[id])

        second = self.on_hashes(evaluator=Recorded(verifiers=verifiers))[1]
        assert second.asked == first.asked

    # -- the budget --------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("steps, wave", [(10, 4), (3, 2), (30, 64)])
    def test_the_budget_is_respected(self, steps, wave):
        refused = 0
        for budget in [*range(1, 50), 77, 123, 290]:
            evaluator = FakeEvaluator(steps=steps, wave=wave)
            try:
                result, _ = self.on_hashes(budget=budget, evaluator=evaluator)
            except BudgetTooSmall:
                refused += 1
                assert not evaluator.asked
            else:
                assert result.nfe == sum(outcome.nfe for outcome in evaluator.outcomes.values()) <= budget
                assert result.winner.finished
        assert refused >= steps - 1

    # -- results -----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("grades", [10**9, 4])
    def test_the_winner_is_the_best_of_all_finished_samples(self, grades):
        result, evaluator = self.on_hashes(grades=grades)
        finished = [outcome for outcome in evaluator.outcomes.values() if outcome.finished]
        assert result.winner.scores[0] == max(outcome.scores[0] for outcome in finished)
        assert result.winner.id == min(o.id for o in finished if o.scores == result.winner.scores)
        assert {outcome.id for outcome in result.ranking} == {outcome.id for outcome in finished}

    @pytest.mark.parametrize("method", METHODS)
    def test_three_verifiers_agree_on_the_winner_over_all_finished_samples(self, method):
        comparison = Comparison(method, (1.0, 2.0, 0.5))
        result, evaluator = self.on_hashes(comparison=comparison, verifiers=3)
        finished = [outcome for outcome in evaluator.outcomes.values() if outcome.finished]
        assert result.ranking == comparison.best(finished, len(finished))

    def test_the_best_so_far_only_gets_better_with_one_verifier(self):
        result, _ = self.on_hashes(wave=1)
        spent, scores = [nfe for nfe, _ in result.curve], [o.scores[0] for _, o in result.curve]
        assert spent == sorted(spent) and scores == sorted(set(scores))
        assert result.curve[-1][1] is result.winner

    @pytest.mark.parametrize("verifiers", [1, 3])
    @pytest.mark.parametrize("share", [0.3, 1.0])
    def test_scores_that_are_nan(self, verifiers, share):
        result, evaluator = self.on_hashes(verifiers=verifiers, nan=share)
        finished = [outcome for outcome in evaluator.outcomes.values() if outcome.finished]
        judged = [outcome for outcome in finished if not any(map(math.isnan, outcome.scores))]
        assert result.winner.finished and result.nfe <= self.budget and not result.faults
        assert share < 1.0 or not judged
        assert not judged or result.winner in judged

    # -- endings -----------------------------------------------------------------------------------------------------

    def test_cancelled_before_any_wave_it_raises_cleanly(self):
        for wave in range(self.on_hashes()[1].waves):

            def cancel(number, wave=wave):
                if number == wave:
                    raise KeyboardInterrupt

            evaluator, watched = FakeEvaluator(before_wave=cancel), Watched(self.search)
            with pytest.raises(KeyboardInterrupt):
                search_on_hashes(watched, budget=self.budget, evaluator=evaluator)
            assert watched.closed == [True] and evaluator.running == 0 and evaluator.waves == wave

    def test_stopped_after_any_wave_it_returns_a_finished_winner(self):
        for wave in range(1, self.on_hashes()[1].waves):
            evaluator, watched = FakeEvaluator(), Watched(self.search)
            stop = lambda evaluator=evaluator, wave=wave: evaluator.waves >= wave  # noqa: E731
            result = run(watched, 7, evaluator, Comparison(), Limits(self.budget), should_stop=stop)
            assert result.winner.finished and result.nfe <= self.budget
            assert evaluator.waves <= wave + 1 and watched.closed == [True] and evaluator.running == 0

    # -- settings ----------------------------------------------------------------------------------------------------

    def test_settings_are_values(self):
        """They flow over a socket, and the report writes them down."""
        search = as_search(self.search)
        assert isinstance(search.name, str) and search.name
        assert hash(self.search) == hash(self.search) and len(str(self.search)) < 10_000
        assert isinstance(search.describe(), dict)
        assert (search.cuts, search.reinjects, search.needs_verifier) == tuple(
            map(bool, (search.cuts, search.reinjects, search.needs_verifier))
        )

    # -- the way of the nodes: plan, run, report, replay ----------------------------------------------------------------

    def on_the_mixture(self, graph, **wishes):
        """A search as the nodes run it; what is true of every one of them is asserted here."""
        graph.model.spy.reset()
        found = graph.search(self.search, budget_nfe=self.nfe, **wishes)
        report = found.report
        assert json.loads(json.dumps(report)) == report
        paid = 0
        for image in report["images"]:
            assert image["search_nfe"] == sum(one["nfe"] for one in image["candidates"]) <= self.nfe
            assert not any("failed" in note for note in report["notes"])
            paid += image["search_nfe"] + image["final_nfe"]
        assert graph.model.spy.rows == paid * graph.rows_per_nfe and report["totals"]["nfe"] == paid
        assert bool(found.latent["samples"].isfinite().all())
        again = graph.search(Replay(tuple(found.recipes)), seed=5)
        torch.testing.assert_close(again.latent["samples"], found.latent["samples"], atol=1e-4, rtol=0)
        return found

    @pytest.mark.parametrize("family", FAMILIES)
    def test_every_family_of_models(self, family):
        self.on_the_mixture(Graph.mixture(family))

    @pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m", "dpmpp_sde"])
    def test_ancestral_multistep_and_sde_samplers(self, sampler):
        self.on_the_mixture(Graph.mixture("EPS", sampler_name=sampler))

    def test_without_guidance(self):
        self.on_the_mixture(Graph.mixture("CONST", cfg=1.0))

    def test_image_to_image(self):
        self.on_the_mixture(Graph.mixture("CONST", latent={"samples": some_latent()}, steps=10, denoise=0.6))

    def test_under_a_mask(self):
        latent = {"samples": some_latent(), "noise_mask": half_mask()}
        found = self.on_the_mixture(Graph.mixture("CONST", latent=latent))
        kept = found.latent["samples"][..., 4:] - latent["samples"][..., 4:]
        assert float(kept.abs().max()) < 1e-5

    def test_a_latent_batch_is_as_many_searches(self):
        found = self.on_the_mixture(Graph.mixture("CONST", latent={"samples": torch.zeros(2, 4, 8, 8)}))
        assert len(found.recipes) == 2 and len(found.report["images"]) == 2

    def test_videos(self):
        shape = (4, 3, 8, 8)
        graph = Graph.mixture("CONST", latent={"samples": torch.zeros(1, *shape)}, dims=3)
        vae = PixelVAE(ScaledLatents(3))
        self.on_the_mixture(graph, vae=vae, verifier=TargetVerifier(vae.decode(some_latent(shape=shape))[0]))

    @pytest.mark.parametrize("blind", [0.0, 0.4, 1.0])
    def test_three_judges_some_of_them_blind(self, blind):
        target = TargetVerifier(PixelVAE().decode(some_latent(seed=1))[0])
        judges = Ensemble((target, Red(), Red("half blind", blind)), (1.0, 1.0, 0.5))
        found = self.on_the_mixture(Graph.mixture("CONST"), verifier=judges)
        image = found.report["images"][0]
        lost = [one["scores"] and None in one["scores"] for one in image["candidates"]]
        assert any("(NaN)" in note for note in found.report["notes"]) == any(lost)
        assert None not in image["winner"]["scores"] or all(
            None in one["scores"] for one in image["candidates"] if one["stop"] == 0
        )

    def test_a_time_limit_that_is_over_at_once(self):
        found = self.on_the_mixture(Graph.mixture("CONST"), time_limit=1e-9, batch_size=1)
        assert found.report["images"][0]["stopped"] == "the time limit is reached"

    def test_the_same_twice(self):
        one, two = (self.on_the_mixture(Graph.mixture("CONST")) for _ in range(2))
        assert one.recipes == two.recipes
        torch.testing.assert_close(one.latent["samples"], two.latent["samples"], atol=0, rtol=0)
