"""Noises from recipes, through the nodes: cancelled at once, refused before anything is paid, the same bits as the search had."""

import json
import math
import weakref

import comfy.model_management as mm
import comfy.sample
import pytest
import torch
from graphs import Graph, some_latent
from noisesearch import compat
from noisesearch.nodes.candidates import NoiseSearchCandidates, NoiseSearchFromRecipe
from noisesearch.nodes.searches import NoiseSearchReplay
from noisesearch.nodes.searching import outputs_of
from noisesearch.sampling.seeded import MOST_SKIPPED, seeded_noise
from noisesearch.search.algorithms import RandomSearch, Replay
from noisesearch.search.noise import MOST_MOVES, NoiseRecipe
from noisesearch.search.rollout import MOST_INDEX, Recipe, Rollout, recipes_from_json, recipes_to_json
from noisesearch.search.seeds import mix
from noisesearch.session.noises import RecipeNoise, index_of, recipe_of, seed_of
from test_recipe_limits import branching, nested

LATENT = {"samples": torch.zeros(1, 4, 8, 8)}


def walk(moves):
    """What zero-order search may come to."""
    return NoiseRecipe(7, tuple((mix(7, i), 0.95) for i in range(moves)))


WALK = walk(200)
MIX = NoiseRecipe(7, mix=((7, 0.6), (8, -0.48), (9, 0.64)))


def as_text(noise, index=0):
    return recipes_to_json([Recipe((Rollout(noise),), index)])


def draw(seed):
    return comfy.sample.prepare_noise(LATENT["samples"], seed)


@pytest.fixture
def draws(monkeypatch):
    """Counts the noises drawn, and calls `draws.then` after each."""

    class Draws:
        count = 0

        def then(self):
            pass

    seen = Draws()

    def counted(original):
        def draw(*args):
            seen.count += 1
            noise = original(*args)
            seen.then()
            return noise

        return draw

    monkeypatch.setattr(comfy.sample, "prepare_noise", counted(comfy.sample.prepare_noise))
    monkeypatch.setattr(compat, "draw_noise", counted(compat.draw_noise))
    yield seen
    mm.interrupt_current_processing(False)


# -- read back -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [WALK, MIX, MIX.move(5, 0.9)], ids=["walk", "mix", "moved mix"])
@torch.inference_mode()
def test_a_noise_comes_back_through_its_recipe_and_makes_the_image_of_a_replay(noise):
    rebuilt, seed = NoiseSearchFromRecipe.execute(as_text(noise)).result
    assert seed == rebuilt.seed == 7
    x = rebuilt.generate_noise(LATENT)
    assert torch.equal(x, noise.noise(draw))
    graph = Graph.mixture("CONST", sampler_name="euler_ancestral")
    (replay,) = NoiseSearchReplay.execute(as_text(noise)).result
    found = graph.search(replay)
    stock = graph.guider.sample(x, LATENT["samples"], graph.sampler, graph.sigmas, seed=7, disable_pbar=True)
    torch.testing.assert_close(found.latent["samples"], stock, atol=1e-4, rtol=0)
    assert found.seed == 7 and found.recipes == list(replay.recipes)


@pytest.mark.parametrize("moves", [2500, pytest.param(MOST_MOVES - 1, marks=pytest.mark.slow)])
@torch.inference_mode()
def test_the_longest_walks_are_replayed(moves):
    """10 000 candidates of a zero-order search, with 4 neighbours and with one."""
    graph, noise = Graph.mixture("CONST"), walk(moves)
    found = graph.search(Replay(tuple(recipes_from_json(as_text(noise)))))
    x = noise.noise(draw)
    stock = graph.guider.sample(x, LATENT["samples"], graph.sampler, graph.sigmas, seed=7, disable_pbar=True)
    torch.testing.assert_close(found.latent["samples"], stock, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_a_recipe_of_a_hundred_pieces_is_replayed():
    """The finest rounds that Search: Branch Midway has widgets for."""
    up, level, pieces = 0.99, 0.99, [Rollout(NoiseRecipe(1), stop=0.99)]
    while level > 0.01:
        up, level = level + 0.005, round(level - 0.01, 6)
        pieces.append(Rollout(NoiseRecipe(len(pieces) + 1), 0, min(up, 1.0), level, 1))
    pieces.append(Rollout(None, 0))
    text = recipes_to_json([Recipe(tuple(pieces))])
    found = Graph.mixture("CONST").search(Replay(tuple(recipes_from_json(text))))
    assert len(found.recipes[0].pieces) == len(pieces) > 99
    assert torch.isfinite(found.latent["samples"]).all() and found.report["totals"]["nfe"] >= 100


# -- cancelled -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "noise", [WALK, MIX, WALK.move(NoiseRecipe(3).move(4, 0.5), 0.5)], ids=["walk", "mix", "nested"]
)
def test_drawing_can_be_cancelled_at_every_noise(noise, draws):
    draws.then = lambda: mm.interrupt_current_processing(draws.count == 2)
    with pytest.raises(mm.InterruptProcessingException):
        RecipeNoise([Recipe((Rollout(noise),))]).generate_noise(LATENT)
    assert draws.count == 2


@torch.inference_mode()
def test_a_replay_can_be_cancelled_at_every_noise(draws):
    draws.then = lambda: mm.interrupt_current_processing(draws.count == 20)
    graph = Graph.mixture("CONST")
    with pytest.raises(mm.InterruptProcessingException):
        graph.search(Replay((Recipe((Rollout(WALK),)),)))
    assert draws.count == 20 and graph.model.spy.calls == 0


@torch.inference_mode()
def test_an_index_that_takes_too_long_is_refused_before_anything_is_sampled():
    graph = Graph.mixture("CONST", latent={"samples": torch.zeros(1, 4, 160, 160)})
    with pytest.raises(ValueError, match=f"sample {MOST_INDEX} of a batch"):
        graph.search(Replay((Recipe((Rollout(NoiseRecipe(7)),), MOST_INDEX),)))
    assert graph.model.spy.calls == 0


def test_a_batch_of_noises_can_be_cancelled(draws):
    draws.then = lambda: mm.interrupt_current_processing(draws.count == 3)
    with pytest.raises(mm.InterruptProcessingException):
        RecipeNoise([Recipe((Rollout(NoiseRecipe(7)),))]).generate_noise(
            {"samples": torch.zeros(64, 4, 8, 8)}
        )
    assert draws.count == 3


def test_many_moves_of_a_large_latent_fit_into_memory(draws, monkeypatch):
    alive, most = weakref.WeakSet(), 0
    counted = comfy.sample.prepare_noise

    def prepare_noise(*args):
        nonlocal most
        noise = counted(*args)
        alive.add(noise)
        most = max(most, len(alive))
        return noise

    monkeypatch.setattr(comfy.sample, "prepare_noise", prepare_noise)
    RecipeNoise([Recipe((Rollout(WALK),))]).generate_noise(LATENT)
    assert draws.count == 202 and most <= 3


# -- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [nested(220), nested(180), branching(14), branching(7, 4), "", "{}", "[]", "\ud800", "null"]
)
@pytest.mark.parametrize("node", [NoiseSearchFromRecipe, NoiseSearchReplay])
def test_hostile_recipes_are_refused_when_they_are_read(node, text, draws):
    with pytest.raises(ValueError, match="recipe") as caught:
        node.execute(text)
    assert draws.count == 0 and len(str(caught.value)) < 1000 and str(caught.value).isascii()


@pytest.mark.parametrize("index", [MOST_INDEX, 30_000])
def test_an_index_that_takes_too_long_is_refused(index, draws):
    noise = NoiseSearchFromRecipe.execute(as_text(NoiseRecipe(7), index)).result[0]
    with pytest.raises(ValueError, match=rf"sample {index} of a batch .* up to sample 4096\."):
        noise.generate_noise({"samples": torch.zeros(1, 4, 128, 128)})
    assert draws.count == 0
    small = noise.generate_noise({"samples": torch.zeros(1, 4, 1, 1)})
    assert torch.equal(small, comfy.sample.prepare_noise(torch.zeros(1, 4, 1, 1), 7, [index]))


def test_a_first_sample_may_be_as_large_as_it_likes():
    huge = torch.zeros(1).expand(1, 1, 1, MOST_SKIPPED + 1)  # no memory of its own

    class Drawn(Exception):
        pass

    def prepare_noise(sample, seed, indices):
        raise Drawn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comfy.sample, "prepare_noise", prepare_noise)
        with pytest.raises(Drawn):
            seeded_noise(huge, 7, 0)


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
@pytest.mark.parametrize("index", [0, 3])
def test_a_seeded_noise_is_the_stock_noise(seed, index):
    batch = comfy.sample.prepare_noise(torch.zeros(4, 4, 8, 8), seed)
    assert torch.equal(seeded_noise(torch.zeros(1, 4, 8, 8), seed, index), batch[index : index + 1])


PLACES = [[-1], [MOST_INDEX + 1], [2**70], ["0"], ["\ud800" * 1000], [None], [1.5], [[0]], "7", 7, {"0": 1}, {}.keys, torch.tensor(3)]  # fmt: skip


@pytest.mark.parametrize("places", PLACES, ids=lambda value: ascii(value)[:20])
def test_a_strange_batch_index_is_refused(places):
    with pytest.raises(ValueError, match="batch_index of a latent is a list of whole numbers") as caught:
        NoiseSearchCandidates.execute({**LATENT, "batch_index": places}, 5, 2, 0.9)
    assert len(str(caught.value)) < 500 and str(caught.value).isascii()


@pytest.mark.parametrize(
    "places, index",
    [(None, 0), ([], 0), ([3, 4], 3), ((3,), 3), (torch.tensor([3]), 3), ([MOST_INDEX], MOST_INDEX)],
)
def test_the_place_of_a_latent_in_its_batch(places, index):
    assert index_of({**LATENT, "batch_index": places}) == index
    assert index_of(LATENT) == 0


@pytest.mark.parametrize(
    "change",
    [{"count": 0}, {"count": 257}, {"count": 10**9}, {"similarity": 1.5}, {"similarity": math.nan}],
    ids=str,
)
def test_linked_numbers_are_checked(change):
    around = RecipeNoise([Recipe((Rollout(NoiseRecipe(1)),))])
    with pytest.raises(ValueError, match=next(iter(change))):
        NoiseSearchCandidates.execute(
            **{"latent": LATENT, "seed": 5, "count": 2, "similarity": 0.9, "around": around} | change
        )


def test_a_noise_that_moved_as_often_as_a_recipe_can_hold_is_not_moved_again():
    moved = NoiseRecipe(1, tuple((seed, 0.9) for seed in range(2, MOST_MOVES + 1)))
    noises, recipes = NoiseSearchCandidates.execute(
        LATENT, 5, 1, 0.9, RecipeNoise([Recipe((Rollout(moved),))])
    ).result
    assert len(recipes_from_json(recipes[0])[0].pieces[0].noise.moves) == MOST_MOVES
    with pytest.raises(ValueError, match="was moved 10000 times; a recipe holds 10000"):
        NoiseSearchCandidates.execute(LATENT, 5, 1, 0.9, noises[0])


def test_candidates_around_a_mix():
    noises, recipes = NoiseSearchCandidates.execute(
        LATENT, 5, 2, 0.9, RecipeNoise([Recipe((Rollout(MIX),))])
    ).result
    assert recipe_of(noises[0], LATENT) == MIX.move(mix(5, 0), 0.9)
    assert json.loads(recipes[0])["noise_search"] == 2
    assert torch.equal(noises[0].generate_noise(LATENT), recipe_of(noises[0], LATENT).noise(draw))


def test_a_search_starts_from_a_plain_seed():
    assert seed_of(RecipeNoise([Recipe((Rollout(NoiseRecipe(7)),))]), LATENT) == 7
    for noise in (MIX, NoiseRecipe(7).move(8, 0.5)):
        with pytest.raises(ValueError, match="moved or mixed"):
            seed_of(RecipeNoise([Recipe((Rollout(noise),))]), LATENT)


# -- the version of ComfyUI ------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_nodes_write_the_version_of_comfyui_into_recipes():
    import comfyui_version

    assert compat.COMFYUI == comfyui_version.__version__
    _, recipes = NoiseSearchCandidates.execute(LATENT, 5, 2, 0.9).result
    found = Graph.mixture("CONST", latent={"samples": some_latent()}).search(RandomSearch(), candidates=2)
    for text in (*recipes, outputs_of(found)[6]):
        assert json.loads(text)["comfyui"] == comfyui_version.__version__
        assert recipes_from_json(text)[0].comfyui == comfyui_version.__version__
    assert "comfyui" not in found.report["images"][0]["winner"]["recipe"]


@torch.inference_mode()
def test_the_report_of_a_replay_says_when_another_comfyui_wrote_the_recipe():
    graph = Graph.mixture("CONST", latent={"samples": some_latent()})

    def said(**written):
        text = json.dumps({"noise_search": 1, "index": 0, "pieces": [{"noise": {"seed": 7}}], **written})
        replay = NoiseSearchReplay.execute(text).result[0]
        return [note for note in graph.search(replay).report["notes"] if "written under" in note]

    (note,) = said(comfyui="0.0.1")
    assert f"written under ComfyUI 0.0.1, and this is {compat.COMFYUI}" in note and "differ" in note
    assert said() == said(comfyui=compat.COMFYUI) == []
