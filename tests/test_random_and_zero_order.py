"""What random search and zero-order search promise beyond the contract of all searches."""

import pytest
from fake_evaluator import FakeEvaluator
from hypothesis import given
from hypothesis import strategies as st
from noisesearch.search.algorithms import RandomSearch, ZeroOrder
from noisesearch.search.algorithms.zero_order import ALWAYS_MOVE, KEEP_BEST, PIVOTS, RESTART
from noisesearch.search.driver import Limits, run
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Outcome, Rollout
from noisesearch.search.seeds import MASK
from noisesearch.search.selection import Comparison

every_pivot = pytest.mark.parametrize("pivot", PIVOTS)


def search(settings, seed=7, budget=600, **options):
    evaluator = FakeEvaluator(**options)
    return run(settings, seed, evaluator, Comparison(), Limits(budget)), evaluator


def climb(settings, *scores, seed=7):
    """The requests of a search whose outcomes score as given, round after round."""
    requests, answer, made = [], None, 0
    search = settings.begin(seed, Comparison().best)
    for row in scores:
        requests.append(search.send(answer))
        assert len(requests[-1]) == len(row)
        answer = [
            Outcome(made + i, rollout, (score,), 1)
            for i, (rollout, score) in enumerate(zip(requests[-1], row))
        ]
        made += len(row)
    return [*requests, search.send(answer)]


def pivots(request):
    """The noises that the rollouts of a request were moved from."""
    return {NoiseRecipe(rollout.noise.seed, rollout.noise.moves[:-1]) for rollout in request}


# -- random search -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 7, 2**53, MASK - 100, MASK])
def test_candidate_i_of_a_random_search_has_seed_plus_i(seed):
    _, evaluator = search(RandomSearch(), seed, budget=2000)
    assert len(evaluator.outcomes) == 200 and len(evaluator.asked) > 1
    assert all(
        outcome.rollout == Rollout(NoiseRecipe((seed + id) % 2**64))
        for id, outcome in evaluator.outcomes.items()
    )


# -- zero-order search ---------------------------------------------------------------------------------------------------


def test_a_search_around_a_noise_begins_there():
    around = NoiseRecipe(3).move(11, 0.9)
    requests = climb(ZeroOrder(2, 0.8, chains=2, around=around), [0.5, 0.4], [0.1] * 4)
    first, other = requests[0]
    assert first == Rollout(around)
    assert other.noise.moves[:-1] == around.moves and other.noise.moves[-1][1] == 0.8
    assert pivots(requests[1]) == {around, other.noise}


@pytest.mark.parametrize(
    "index, places, begins",
    [(0, [0], [0]), (2, [0], [2]), (0, [4], [0]), (2, [0, 1, 2], [0, 1, 2]), (5, [0, 1], [5, 6])],
)
def test_the_noise_to_begin_at_is_that_of_its_sample(index, places, begins):
    """The same seeds are another noise at another place of a batch."""
    settings = ZeroOrder(around=NoiseRecipe(3), index=index)
    samples = [settings.of_sample(i, len(places), place) for i, place in enumerate(places)]
    assert samples == [(settings, begin) for begin in begins]
    assert ZeroOrder().of_sample(0, 1, 7) == (ZeroOrder(), 7)


@every_pivot
def test_the_first_pivot_is_the_users_own_image(pivot):
    assert climb(ZeroOrder(2, pivot=pivot))[0] == [Rollout(NoiseRecipe(7))]
    assert climb(ZeroOrder(2, pivot=pivot), [0.5])[1] == [
        Rollout(noise.noise) for noise in climb(ZeroOrder(2), [0.5])[1]
    ]


@every_pivot
@given(neighbours=st.integers(1, 6), cosine=st.floats(-0.99, 0.99))
def test_every_iteration_asks_for_n_neighbours_at_the_cosine(pivot, neighbours, cosine):
    first, second = climb(ZeroOrder(neighbours, cosine, pivot), [0.1], [0.2] * neighbours)[1:]
    for request in (first, second):
        assert (
            len(request) == neighbours == len({rollout.noise for rollout in request})
            and len(pivots(request)) == 1
        )
        assert all(rollout.noise.moves[-1][1] == cosine for rollout in request)
    directions = [rollout.noise.moves[-1][0] for rollout in first + second]
    assert len(set(directions)) == 2 * neighbours and all(0 <= direction < 2**53 for direction in directions)


@every_pivot
def test_the_pivot_is_never_paid_again(pivot):
    """No noise is asked for twice, whatever becomes the pivot."""
    _, evaluator = search(ZeroOrder(3, pivot=pivot), grades=4)
    noises = [outcome.rollout.noise for outcome in evaluator.outcomes.values()]
    assert len(noises) == len(set(noises)) == 60


@every_pivot
def test_a_better_neighbour_becomes_the_pivot(pivot):
    requests = climb(ZeroOrder(3, pivot=pivot), [0.5], [0.1, 0.9, 0.6])
    assert pivots(requests[2]) == {requests[1][1].noise}


@pytest.mark.parametrize("scores", [[0.1, 0.4, 0.2], [0.5, 0.5, 0.5], [float("nan")] * 3])
def test_keep_best_stays_where_no_neighbour_is_better_and_looks_in_new_directions(scores):
    requests = climb(ZeroOrder(3, pivot=KEEP_BEST), [0.5], scores)
    assert pivots(requests[2]) == pivots(requests[1]) == {NoiseRecipe(7)}
    assert not {rollout.noise for rollout in requests[1]} & {rollout.noise for rollout in requests[2]}


def test_keep_best_goes_back_to_no_earlier_pivot():
    requests = climb(ZeroOrder(2, pivot=KEEP_BEST), [0.5], [0.6, 0.7], [0.1, 0.65])
    assert pivots(requests[3]) == {requests[1][1].noise}


def test_always_move_moves_even_to_a_worse_one():
    requests = climb(ZeroOrder(3, pivot=ALWAYS_MOVE), [0.5], [0.1, 0.4, 0.2], [0.0, 0.0, 0.05])
    assert pivots(requests[2]) == {requests[1][1].noise} and pivots(requests[3]) == {requests[2][2].noise}


@pytest.mark.parametrize("pivot", [KEEP_BEST, ALWAYS_MOVE])
def test_only_the_restarting_search_restarts(pivot):
    _, evaluator = search(ZeroOrder(3, pivot=pivot), grades=1)
    assert sum(not outcome.rollout.noise.moves for outcome in evaluator.outcomes.values()) == 1


def test_restart_when_stuck_begins_again_from_the_next_seed():
    requests = climb(ZeroOrder(2, pivot=RESTART), [0.5], [0.1, 0.5], [0.2], [0.3, 0.1], [0.0, 0.0], [0.1])
    assert [len(request) for request in requests] == [1, 2, 1, 2, 2, 1, 2]
    assert requests[2] == [Rollout(NoiseRecipe(8))] and pivots(requests[3]) == {NoiseRecipe(8)}
    assert pivots(requests[4]) == {
        requests[3][0].noise
    }  # 0.3 beats the new pivot's 0.2, though not the old one's 0.5
    assert requests[5] == [Rollout(NoiseRecipe(9))] and pivots(requests[6]) == {NoiseRecipe(9)}


def test_restart_when_stuck_wraps_the_seed():
    assert climb(ZeroOrder(1, pivot=RESTART), [0.5], [0.1], seed=MASK)[2] == [Rollout(NoiseRecipe(0))]


def test_restart_when_stuck_keeps_the_best_of_all_restarts():
    result, evaluator = search(ZeroOrder(2, pivot=RESTART))
    starts = [id for id, outcome in evaluator.outcomes.items() if not outcome.rollout.noise.moves]
    assert len(starts) > 3
    assert result.winner.scores[0] == max(outcome.scores[0] for outcome in evaluator.outcomes.values())
    assert result.winner.id < starts[-1], (
        "the winner was found before the last restart, or this test shows nothing"
    )


def test_the_searches_go_uphill():
    """On scores that fall off smoothly around one noise, zero-order search at equal cost gets higher than random search."""
    import torch

    def draw(seed):
        return torch.randn(64, generator=torch.Generator().manual_seed(seed))

    class Hill(FakeEvaluator):
        def _score(self, path, verifier):
            return float(torch.nn.functional.cosine_similarity(path[0][0].noise(draw), draw(2**40), dim=0))

    def height(settings):
        return run(settings, 7, Hill(), Comparison(), Limits(810)).winner.scores[0]

    random = height(RandomSearch())
    assert height(ZeroOrder(4, 0.9)) > 1.3 * random
    assert height(ZeroOrder(4, 0.9, RESTART)) > random
