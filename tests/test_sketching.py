"""Previews by ComfyUI's approximate decoders, and how well previews foresaw what became of the samples."""

import math
from types import SimpleNamespace

import comfy.utils
import folder_paths
import pytest
import torch
from closed_form import PixelVAE
from comfy.taesd.taesd import TAESD, Decoder
from fake_evaluator import FakeEvaluator
from graphs import Graph, some_latent
from noisesearch.search.algorithms import ParticleSearch, SeedPruning
from noisesearch.search.algorithms.base import Search
from noisesearch.search.drafts import rank_correlation
from noisesearch.search.driver import Limits, run
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Outcome, Rollout
from noisesearch.search.selection import Comparison
from noisesearch.session import sketching
from noisesearch.session.fingerprint import context_key
from noisesearch.session.foresight import foresight, in_words
from noisesearch.session.sketching import sketch_of
from noisesearch.verifiers.base import Verifier

FACTORS = [[0.2, 0.0, 0.1], [0.0, 0.3, 0.0], [0.1, 0.0, 0.4], [0.0, 0.1, 0.0]]
BIAS = [0.1, -0.1, 0.0]


class Seen(Verifier):
    """Scores by brightness, and remembers the pictures."""

    name = "brightness"

    def __init__(self):
        self.pictures = []

    def score(self, batch):
        self.pictures += list(batch.images)
        return batch.images.flatten(1).mean(1).float()


@pytest.fixture
def formatted():
    """A graph whose latents have a latent2rgb decoder, and the name of a TAESD."""
    graph = Graph.mixture("CONST")
    format = graph.model.model.latent_format
    format.latent_rgb_factors, format.latent_rgb_factors_bias = FACTORS, BIAS
    format.taesd_decoder_name = "taetest_decoder"
    return graph


@pytest.fixture
def taesd(tmp_path, monkeypatch):
    """A file with random weights for a TAESD decoder."""
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: 0.1 * torch.randn(shape.shape, generator=generator)
        for name, shape in Decoder(4).state_dict().items()
    }
    file = tmp_path / "taetest_decoder.safetensors"
    comfy.utils.save_torch_file(weights, str(file))
    monkeypatch.setitem(
        folder_paths.folder_names_and_paths, "vae_approx", ([str(tmp_path)], {".safetensors"})
    )
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return file


def expected(x0):
    """By hand: a pixel is the cell's channels times the factors, plus the bias, from [-1, 1] to [0, 1]."""
    pixels = torch.einsum("bchw,cr->bhwr", x0, torch.tensor(FACTORS)) + torch.tensor(BIAS)
    return ((pixels + 1) / 2).clamp(0, 1)


def test_latent2rgb_by_hand(formatted):
    x0 = 2 * some_latent(batch=3)
    assert torch.allclose(sketch_of("latent2rgb", formatted.model, PixelVAE())(x0), expected(x0), atol=1e-6)


def test_latent2rgb_of_videos_and_in_the_size_of_the_vae(formatted):
    vae = PixelVAE()
    vae.spacial_compression_decode = lambda: 8
    x0 = some_latent(batch=2, shape=(4, 3, 8, 8))
    videos = sketch_of("latent2rgb", formatted.model, vae)(x0)
    assert videos.shape == (2, 3, 64, 64, 3)
    small = torch.stack([expected(x0[:, :, i]) for i in range(3)], 1)
    pooled = videos.unflatten(2, (8, 8)).unflatten(4, (8, 8)).mean((3, 5))
    assert (pooled - small).abs().mean() < 0.1


def test_taesd_from_its_file(formatted, taesd):
    x0 = some_latent(batch=2)
    network = Decoder(4)
    network.load_state_dict(comfy.utils.load_torch_file(str(taesd)))
    with torch.no_grad():
        images = sketch_of("TAESD", formatted.model, PixelVAE())(x0)
        assert images.shape == (2, 64, 64, 3) and images.std() > 0.01
        assert torch.allclose(images, network(x0).movedim(1, -1).clamp(0, 1), atol=1e-5)


@pytest.mark.parametrize("decoder", ["latent2rgb", "TAESD"])
@pytest.mark.parametrize("search", [SeedPruning, ParticleSearch])
@torch.inference_mode()
def test_only_unfinished_images_are_sketched(formatted, taesd, search, decoder):
    """The sizes tell them apart; with a VAE of 2 pixels a cell, latent2rgb gives 16 x 16."""
    formatted.sampler_name = "euler_ancestral"
    vae, judge = PixelVAE(), Seen()
    vae.spacial_compression_decode = lambda: 2
    found = formatted.search(search(decoder=decoder), verifier=judge, vae=vae, candidates=4)
    candidates = found.report["images"][0]["candidates"]
    finished = sum(one["stop"] == 0 for one in candidates)
    sizes = [tuple(picture.shape[:2]) for picture in judge.pictures]
    sketched = (64, 64) if decoder == "TAESD" else (16, 16)
    assert sizes.count((8, 8)) == finished and sizes.count(sketched) == len(candidates) - finished > 0
    assert found.report["totals"]["decodes"] >= len(candidates)
    assert vae.decodes < len(candidates)


class Together(Search):
    """Finished and unfinished samples in one request."""

    name = "together"
    cuts = True
    decoder = "latent2rgb"

    def begin(self, seed, best):
        yield [Rollout(NoiseRecipe(seed + i), stop=0.5 * (i % 2)) for i in range(6)]


@torch.inference_mode()
def test_finished_and_sketched_images_of_one_request_have_sizes_of_their_own(formatted):
    vae, judge = PixelVAE(), Seen()
    vae.spacial_compression_decode = lambda: 2
    found = formatted.search(Together(), verifier=judge, vae=vae, candidates=8, batch_size=6)
    scores = {one["id"]: one["scores"][0] for one in found.report["images"][0]["candidates"]}
    assert list(scores) == list(range(6))
    top = found.report["images"][0]["winner"]
    assert top["id"] == max((0, 2, 4), key=lambda id: scores[id])


@torch.inference_mode()
def test_a_decoder_is_loaded_once_for_all_samples_of_a_batch(formatted, taesd, monkeypatch):
    formatted.latent, loaded = {"samples": torch.zeros(3, 4, 8, 8)}, []
    monkeypatch.setattr(
        sketching, "TAESD", lambda *args, **options: loaded.append(1) or TAESD(*args, **options)
    )
    found = formatted.search(SeedPruning(decoder="TAESD"), candidates=4, verifier=Seen())
    assert len(found.recipes) == 3 and loaded == [1]


@pytest.mark.parametrize("decoder, says", [("latent2rgb", "ScaledLatents"), ("TAESD", "none for it")])
@torch.inference_mode()
def test_what_comfyui_has_not_is_refused_before_anything_runs(decoder, says):
    graph = Graph.mixture("CONST")
    with pytest.raises(ValueError, match=says):
        graph.search(SeedPruning(decoder=decoder), candidates=4)
    assert graph.model.spy.calls == 0


def test_a_taesd_that_is_not_there_is_named(formatted):
    with pytest.raises(ValueError, match="holds no taetest_decoder"):
        sketch_of("TAESD", formatted.model, PixelVAE())


@torch.inference_mode()
def test_the_journal_tells_previews_by_their_decoder(formatted, taesd, monkeypatch):
    """The key of searches without sketches is what it was."""
    from noisesearch.sampling.setup import Looks

    class Nowhere:
        def above(self, *names):
            return []

    evaluator = formatted.evaluator()
    setup = type(
        "Setup",
        (),
        dict(
            guider=formatted.guider,
            solver=evaluator.solver,
            sample=evaluator.sample,
            schedule=evaluator.schedule,
        ),
    )
    keys = []
    for how in ("the VAE", "latent2rgb", "TAESD"):
        evaluator.looks = Looks(sketch=sketch_of(how, formatted.model, PixelVAE()))
        keys.append(context_key(setup, evaluator, Nowhere()))
    assert len(set(keys)) == 3


# -- foresight -----------------------------------------------------------------------------------------------------------


def looked(before, after):
    """A result of samples that were looked at twice, with these scores."""
    count = len(before)
    parents = [
        Outcome(i, Rollout(NoiseRecipe(i), stop=0.5), (float(score),), 5) for i, score in enumerate(before)
    ]
    children = [Outcome(count + i, Rollout(parent=i), (float(score),), 5) for i, score in enumerate(after)]
    return SimpleNamespace(outcomes={one.id: one for one in (*parents, *children)})


@pytest.mark.parametrize(
    "one, two, correlation",
    [
        ([1, 2, 3], [10, 20, 30], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2, 3, 4], [2, 1, 4, 3], 0.6),
        ([1, 1, 2], [1, 2, 3], 0.75**0.5),  # ranks 1.5, 1.5, 3
        ([math.nan, 1, 2], [1, 2, 3], 1.0),  # what could not be judged comes last
        ([1, 1, 1], [1, 2, 3], None),  # there is no order
        ([1, 2], [1, 2], None),  # too few
    ],
)
def test_foresight_by_hand(one, two, correlation):
    told = [found["rank_correlation"] for found in foresight(looked(one, two), Comparison())]
    assert told == ([] if correlation is None else [pytest.approx(correlation, abs=1e-4)])


class Counted(Comparison):
    """Counts how often it is asked."""

    asked = 0

    def utilities(self, pool):
        type(self).asked += 1
        return super().utilities(pool)


def test_foresight_asks_once_for_each_side_however_many_samples():
    (found,) = foresight(looked(range(4000), reversed(range(4000))), Counted())
    assert (found["samples"], found["rank_correlation"], Counted.asked) == (4000, -1.0, 2)


def test_foresight_pairs_each_sample_with_its_next_look():
    evaluator = FakeEvaluator(steps=20)
    result = run(SeedPruning(), 5, evaluator, Comparison(), Limits(400))
    found = foresight(result, Comparison())
    stops = sorted({one.rollout.stop for one in result.outcomes.values()}, reverse=True)
    assert [(one["flow_time"], one["next"]) for one in found] == list(zip(stops, stops[1:]))
    children = [o for o in result.outcomes.values() if o.rollout.stop == stops[1]]
    scores = [(result.outcomes[o.rollout.parent].scores[0], o.scores[0]) for o in children]
    assert found[0]["samples"] == len(children) and found[0]["rank_correlation"] == pytest.approx(
        rank_correlation(*zip(*scores)), abs=1e-4
    )
    assert "rank correlation" in in_words(found)[0] and in_words([]) == []


@torch.inference_mode()
def test_the_report_has_the_rank_correlation_of_pruning_and_of_no_other_search():
    graph = Graph.mixture("CONST", steps=20)
    report = graph.search(SeedPruning(), candidates=8).report
    assert [one["samples"] for one in report["images"][0]["previews"]] == [6, 4]
    assert sum("rank correlation" in note for note in report["notes"]) == 1
    report = graph.search(candidates=4).report
    assert "previews" not in report["images"][0]
