"""What the panel is told: whole states, few of them, to the right client; pictures as files; nothing where nobody watches."""

import json
import math
from collections import OrderedDict
from types import SimpleNamespace

import comfy.model_management as mm
import folder_paths
import pytest
import torch
from closed_form import PixelVAE, ScaledLatents, TargetVerifier
from graphs import Graph, some_latent
from PIL import Image

from noisesearch.compat import COMFYUI
from noisesearch.sampling import evaluator
from noisesearch.search.algorithms import RandomSearch, SearchOverPaths, SeedPruning, ZeroOrder
from noisesearch.search.noise import NoiseRecipe
from noisesearch.search.rollout import Rollout, recipes_from_json, recipes_to_json
from noisesearch.session import live, pace, pictures
from noisesearch.session.live import BOARD, POINTS, Live, Viewer
from noisesearch.session.pace import Pace
from noisesearch.session.progress import LiveProgress
from noisesearch.session.run import Wishes, search_images
from noisesearch.verifiers.ensemble import Ensemble

VIEWER = Viewer("client", "workflow", "prompt", "12:7:5", "run")


@pytest.fixture
def told(monkeypatch, tmp_path):
    """The states that were told, in a temp folder of their own; told.at: when, by a clock that the test moves."""

    class Told(list):
        at, now = [], 0.0

        def send_sync(self, event, state, client):
            assert (event, client) == ("noise_search.state", "client")
            self.append(json.loads(json.dumps(state)))
            self.at.append(self.now)

        def clock(self):
            self.now += 0.1
            return self.now

    told = Told()
    told.at = []
    monkeypatch.setattr(live, "server", lambda: told)
    monkeypatch.setattr(
        live, "time", SimpleNamespace(monotonic=told.clock, perf_counter=lambda: 0.0, thread_time=lambda: 0.0)
    )
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(tmp_path))
    return told


def searched(settings=None, panel=None, graph=None, verifier=None, vae=None, **wishes):
    graph, vae = graph or Graph.mixture("CONST"), vae or PixelVAE()
    verifier = verifier or TargetVerifier(vae.decode(some_latent(seed=1))[0])
    wishes = Wishes(**{"candidates": 6, "batch_size": 2, **wishes})
    return search_images(
        graph.guider, graph.sampler, graph.sigmas, graph.latent, 11, settings or RandomSearch(), verifier, vae, "", wishes,
        panel=panel,
    )  # fmt: skip


def final(panel, awaiting=False):
    return json.loads(json.dumps(panel.ui(["a note"], awaiting)))["noise_search_state"][0]


@torch.inference_mode()
def test_the_last_state_is_the_report_in_pictures(told):
    panel = Live(VIEWER)
    found = searched(panel=panel)
    state, image = final(panel), found.report["images"][0]
    one = state["searches"][0]
    assert (state["workflow"], state["prompt"], state["node"]) == ("workflow", "prompt", "12:7:5")
    assert (state["phase"], state["run"], state["notes"], state["awaiting"]) == (
        "done",
        None,
        ["a note"],
        False,
    )
    assert [entry["id"] for entry in one["board"]] == image["ranking"] and one["chosen"] == image["winner"][
        "id"
    ]
    assert one["curve"] == image["curve"]
    assert one["spent"]["nfe"] == image["search_nfe"] and one["budget"]["nfe"] == image["budget_nfe"]
    for entry, outcome in zip(one["board"], found.found[0].result.ranking):
        assert entry["scores"] == [float(f"{outcome.scores[0]:.5g}")] and entry["plain"]
        assert recipes_from_json(entry["recipe"])[0].root.seed == int(entry["seed"]) == 11 + outcome.id
        with Image.open(pictures.folder() / entry["picture"]) as picture:
            assert picture.size == (8, 8) and picture.format == "JPEG"
    assert one["first"]["id"] == 0 and [point[0] for point in one["points"]] == list(range(6))
    best, first = one["board"][0]["scores"][0], one["first"]["scores"][0]
    assert f"The best of 6 by {state['judges'][0]}: {best:.3g}" in one["why"]
    assert best == first or f"the first candidate has {first:.3g}" in one["why"]
    assert (
        one["stopped"] == "the budget is spent" and "ended" not in one["why"]
    )  # as expected: not a word of it


@torch.inference_mode()
def test_comfyuis_list_of_jobs_takes_the_state_for_no_file(told):
    """Items of `ui` with a `filename` or a `format` that is no text crash /api/jobs; ours has neither."""
    panel = Live(VIEWER)
    searched(panel=panel)
    assert not {"filename", "format", "type", "subfolder", "mediaType", "text"} & set(final(panel))


@torch.inference_mode()
def test_states_grow_and_come_at_most_four_times_a_second(told):
    searched(panel=Live(VIEWER))
    counts = [state["searches"][0]["spent"]["candidates"] for state in told]
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] >= 2
    assert min(later - before for before, later in zip(told.at, told.at[1:])) >= live.GAP
    assert all(state["run"] == "run" for state in told)


@torch.inference_mode()
def test_a_large_state_waits_longer(told, monkeypatch):
    monkeypatch.setattr(live, "RATE", 1000)
    panel = Live(VIEWER)
    searched(panel=panel)
    sizes = [len(json.dumps(state)) for state in told]
    gaps = [later - before for before, later in zip(told.at, told.at[1:])]
    assert gaps and all(gap >= size / 1000 for gap, size in zip(gaps, sizes))


def test_a_long_prompt_is_not_told_whole_each_time():
    panel = Live(VIEWER)
    panel.begin("search", SimpleNamespace(names=[], leading=0, held_out=None, prompt="many words " * 100_000))
    assert panel.about["read"].startswith("many words many") and len(panel.about["read"]) <= 2004


@torch.inference_mode()
def test_a_sampler_is_tried_once_for_all_recipes_that_are_told(told, monkeypatch):
    tried = []
    monkeypatch.setattr(evaluator, "steps_alone", lambda solver: tried.append(1) or True)
    searched(SeedPruning(), Live(VIEWER), Graph.mixture("CONST", steps=20), candidates=8)
    assert tried == [1]


@pytest.mark.parametrize("panel", [None, Live()], ids=["no panel", "no viewer"])
@torch.inference_mode()
def test_nobody_watches_nothing_is_drawn(panel, told, tmp_path):
    searched(panel=panel)
    assert not told and not list(tmp_path.iterdir())
    assert panel is None or panel.ui([], False) == {}


@pytest.mark.parametrize(
    "settings", [RandomSearch(), ZeroOrder(2, 0.7), SearchOverPaths(paths=1)], ids=lambda s: s.name
)
@torch.inference_mode()
def test_watching_changes_nothing(settings, told):
    found = searched(settings, Live(VIEWER), candidates=8)
    alone = searched(settings, candidates=8)
    torch.testing.assert_close(found.latent["samples"], alone.latent["samples"], atol=0, rtol=0)
    assert found.report["totals"]["nfe"] == alone.report["totals"]["nfe"]
    assert found.report["notes"] == alone.report["notes"]


@torch.inference_mode()
def test_the_panel_tells_the_recipes_that_the_outputs_have(told):
    """Of samples that were cut without a trace, say."""
    panel = Live(VIEWER)
    found = searched(SeedPruning(), panel, Graph.mixture("CONST", steps=20), candidates=8, keep_top=3)
    board = final(panel)["searches"][0]["board"]
    one = found.found[0]
    texts = [recipes_to_json([recipe], COMFYUI) for recipe in one.top_recipes]
    assert [entry["recipe"] for entry in board][:3] == texts and [e["id"] for e in board[:3]] == one.top_ids
    assert len(board) > 3 and all(entry["plain"] for entry in board)
    assert all(len(recipes_from_json(entry["recipe"])[0].pieces) == 1 for entry in board)
    while_it_ran = [entry for state in told for entry in state["searches"][0]["board"] if entry["recipe"]]
    assert while_it_ran and all(entry["plain"] for entry in while_it_ran)


@torch.inference_mode()
def test_long_recipes_are_told_at_the_end_for_every_sample_of_a_batch(told, monkeypatch):
    monkeypatch.setattr(live, "LONGEST_RECIPE", 120)
    panel = Live(VIEWER)
    graph = Graph.mixture("CONST", latent={"samples": torch.zeros(2, 4, 8, 8)})
    searched(ZeroOrder(2, 0.7), panel, graph, candidates=9)
    short = [entry["recipe"] for state in told for one in state["searches"] for entry in one["board"]]
    assert None in short
    for one in final(panel)["searches"]:
        assert len(one["board"]) == 9
        for entry in one["board"]:
            assert recipes_from_json(entry["recipe"])[0].root.seed == int(entry["seed"])
            assert entry["plain"] == (len(entry["recipe"]) < 120)


@torch.inference_mode()
def test_unfinished_ones_and_their_children_are_told(told):
    panel = Live(VIEWER)
    searched(SearchOverPaths(paths=1), panel, candidates=12)
    points = final(panel)["searches"][0]["points"]
    assert any(level > 0 for _, _, _, _, level, _, _ in points)
    assert any(parent is not None for *_, parent, _ in points)
    on_the_way = [entry for state in told for entry in state["searches"][0]["board"] if entry["level"] > 0]
    assert on_the_way and all(entry["recipe"] is None and entry["picture"] for entry in on_the_way)


@torch.inference_mode()
def test_a_held_out_judge_is_told_beside(told):
    panel, vae = Live(VIEWER), PixelVAE()
    judges = [TargetVerifier(vae.decode(some_latent(seed=seed))[0]) for seed in (1, 2)]
    found = searched(panel=panel, verifier=Ensemble((judges[0],), (1.0,), held_out=judges[1]))
    state = final(panel)
    assert state["held_out"] == judges[1].name
    witness = found.found[0].witness
    for entry in state["searches"][0]["board"]:
        assert entry["held_out"] == float(f"{witness[entry['id']]:.5g}")


@torch.inference_mode()
def test_a_batch_has_a_search_for_each_sample(told):
    panel = Live(VIEWER)
    found = searched(panel=panel, graph=Graph.mixture("CONST", latent={"samples": torch.zeros(2, 4, 8, 8)}))
    searches = final(panel)["searches"]
    assert [one["chosen"] for one in searches] == [one.result.winner.id for one in found.found]
    assert [recipes_from_json(one["board"][0]["recipe"])[0].index for one in searches] == [0, 1]
    assert [state["searches"][1]["phase"] for state in told][0] == "waiting"
    assert all(one._recipe is None for one in panel.searches), "it holds on to the latents"
    names = [{entry["picture"] for entry in one["board"]} for one in searches]
    assert not names[0] & names[1]


def test_pictures_are_told_apart_by_all_that_makes_an_image():
    """And by nothing else: another run of the same search, where it has other ids, finds its picture again."""
    noises = [NoiseRecipe(3), NoiseRecipe(3, vary=(0.3, 0.5)), NoiseRecipe(3, vary=(0.4, 0.5))]
    noises += [NoiseRecipe(3).move(4, 0.5), NoiseRecipe(3, mix=((3, 0.6), (4, 0.8)))]
    made = [[Rollout(noise)] for noise in noises] + [[Rollout(NoiseRecipe(3), stop=0.5)]]
    made += [[Rollout(NoiseRecipe(3), stop=0.5), Rollout(parent=7)]]
    names = [live.named("key", pieces) for pieces in made]
    assert len(set(names)) == len(made) and not {live.named("another", pieces) for pieces in made} & set(
        names
    )
    assert live.named("key", [Rollout(NoiseRecipe(3), stop=0.5), Rollout(parent=40)]) == names[-1]


def test_a_video_shows_its_middle_frame():
    video = torch.stack([torch.full((4, 6, 3), value) for value in (0.0, 0.2, 1.0, 0.4)])
    assert pictures.small(video).unique().tolist() == [255]
    assert pictures.small(video).shape == (4, 6, 3)


def test_the_progress_bar_shows_the_same_small_picture(monkeypatch):
    shown = []
    progress = LiveProgress("5", 10)
    monkeypatch.setattr(progress.bar, "update_absolute", lambda nfe, total, picture: shown.append(picture))
    video = torch.stack([torch.full((600, 1200, 3), value) for value in (0.0, math.nan, 1.0)])
    video[1, :300] = 0.2
    progress.best(1, "", video[None])
    ((kind, picture, size),) = shown
    assert (kind, picture.size, size) == ("JPEG", (512, 256), 512)
    assert (picture.getpixel((9, 9)), picture.getpixel((9, 250))) == ((51, 51, 51), (0, 0, 0))
    progress.best(1, "", torch.rand(1, 8, 8, 1))
    assert shown[1][1].size == (8, 8)


def test_a_large_picture_is_made_small():
    assert pictures.small(torch.rand(2048, 1024, 3)).shape == (512, 256, 3)
    assert pictures.small(torch.full((8, 8, 3), math.nan)).unique().tolist() == [0]


@torch.inference_mode()
def test_a_long_search_is_told_in_short(told):
    panel = Live(VIEWER)
    searched(panel=panel, candidates=POINTS + 100, batch_size=64, keep_top=1)
    one = final(panel)["searches"][0]
    assert len(one["board"]) == BOARD and len(one["points"]) <= POINTS
    assert {id for _, id in one["curve"]} <= {point[0] for point in one["points"]}
    assert len(list(pictures.folder().iterdir())) <= POINTS / 2, "pictures of those that nobody is shown"
    assert max(len(json.dumps(state)) for state in told) < 50_000


@torch.inference_mode()
def test_a_panel_that_fails_costs_a_note_and_nothing_else(told, monkeypatch):
    def broken(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(pictures, "write", broken)
    found = searched(panel=Live(VIEWER))
    torch.testing.assert_close(found.latent["samples"], searched().latent["samples"], atol=0, rtol=0)
    assert any(note.startswith("The panel's pictures failed (OSError: ") for note in found.report["notes"])


def test_running_samples_are_shown_in_the_panel_where_there_is_one(told):
    panel = Live(VIEWER)
    panel.glances(Image.new("RGB", (8, 8)))
    first = told[-1]["sampling"]
    assert (pictures.folder() / first).is_file()
    told.now += 1.0
    panel.glances(Image.new("RGB", (8, 8)))
    assert told[-1]["sampling"] != first and not (pictures.folder() / first).exists()
    assert final(panel)["sampling"] is None and not list(pictures.folder().iterdir())
    assert Live(Viewer("client", None, "prompt", "5", "run")).glances is None, "no front end, no panel"


@pytest.mark.parametrize("error", [mm.InterruptProcessingException, RuntimeError])
@torch.inference_mode()
def test_a_search_that_is_cancelled_or_fails_leaves_no_picture_of_a_running_sample(told, error):
    panel, graph = Live(VIEWER), Graph.mixture("CONST")

    class Cancelled(TargetVerifier):
        def score(self, batch):
            panel.glances(Image.new("RGB", (8, 8)))
            assert (pictures.folder() / panel.sampling).is_file()
            raise error("cancelled")

    with pytest.raises(error):
        searched(panel=panel, graph=graph, verifier=Cancelled(PixelVAE().decode(some_latent(seed=1))[0]))
    assert panel.sampling is None and not list(pictures.folder().iterdir())


# -- the time that is left --------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(pace, "_looks", OrderedDict())
    return clock


def test_the_time_left_is_told_after_one_evaluation_and_one_decode(clock):
    one = Pace("model")
    assert one.left(100, 10) is None

    def decode():
        clock.now += 3

    one.probe(10, decode)
    clock.now += 7  # loading and the first evaluation
    one.evaluated(1)
    assert one.left(99, 10) == pytest.approx(10 * 99 + 10 * 3)
    clock.now += 2
    one.evaluated(2)  # the second one shows what one takes
    assert one.left(98, 10) == pytest.approx(2 * 98 + 10 * 3)
    clock.now += 28
    one.wave(12, 1, 8.0)  # ten more NFE and one candidate, all in 30 s
    assert one.left(88, 9) == pytest.approx(88 * 30 / 11)


def test_what_a_decode_takes_is_remembered(clock):
    asked = []
    for candidates in (2, 10, 10):
        Pace("model").probe(candidates, lambda: asked.append(1))
    assert len(asked) == 1, "a few candidates are not worth a probe, and one probe is enough"


@pytest.mark.parametrize("dims, probes", [(2, 1), (3, 0)])
@torch.inference_mode()
def test_the_probe_is_counted_and_is_none_for_videos(dims, probes, told, clock):
    shape = (4, 8, 8) if dims == 2 else (4, 3, 8, 8)
    decodes = []
    for panel in (None, Live(VIEWER)):
        vae = PixelVAE(ScaledLatents(dims))
        judge = TargetVerifier(PixelVAE(ScaledLatents(dims)).decode(some_latent(shape=shape))[0])
        graph = Graph.mixture("CONST", latent={"samples": torch.zeros(1, *shape)}, dims=dims)
        found = searched(panel=panel, graph=graph, verifier=judge, vae=vae)
        assert found.report["totals"]["decodes"] == vae.decodes
        decodes.append(vae.decodes)
    assert decodes[1] - decodes[0] == probes


@torch.inference_mode()
def test_images_do_not_pile_up_where_no_client_listens(told, monkeypatch):
    panel, most = Live(Viewer(None, "workflow", "prompt", "5", "run")), []
    saw = live.LiveSearch.saw

    def counted(self, ids, images):
        saw(self, ids, images)
        most.append(len(self._seen))
        assert all(one.dtype == torch.uint8 and one.shape == (8, 8, 3) for one in self._seen.values())
        storages = {
            one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in self._seen.values()
        }
        assert sum(storages.values()) == 8 * 8 * 3 * len(self._seen), "of whole batches"

    monkeypatch.setattr(live.LiveSearch, "saw", counted)
    graph = Graph.mixture("CONST", latent={"samples": torch.zeros(1, 4, 3, 8, 8)}, dims=3)
    vae = PixelVAE(ScaledLatents(3))
    judge = TargetVerifier(vae.decode(some_latent(shape=(4, 3, 8, 8)))[0])
    searched(panel=panel, graph=graph, verifier=judge, vae=vae, candidates=100)
    assert not told and max(most) <= live.MOST_SEEN + 2
    assert all(entry["picture"] for entry in final(panel)["searches"][0]["board"])
