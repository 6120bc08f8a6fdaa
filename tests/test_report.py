"""Search Report: the lines, the picture and the JSON of every kind of search."""

import json

import pytest
import torch
from closed_form import PixelVAE, TargetVerifier
from graphs import Graph, some_latent
from PIL import Image
from noisesearch.nodes.candidates import NoiseSearchScoreImages
from noisesearch.nodes.report import NoiseSearchReport
from noisesearch.nodes.search import NoiseSearchKSampler
from noisesearch.nodes.sockets import Report
from noisesearch.search.algorithms import SearchOverPaths, ZeroOrder
from noisesearch.session import report as report_module
from noisesearch.session import report_picture
from noisesearch.session.report_picture import THEMES, _range, _ticks
from noisesearch.session.summary import name_of
from noisesearch.verifiers.ensemble import Ensemble


@pytest.fixture(autouse=True)
def temp(tmp_path, monkeypatch):
    import folder_paths

    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    return tmp_path


def judge(seed=1):
    return TargetVerifier(PixelVAE().decode(some_latent(seed=seed))[0])


@torch.inference_mode()
def searched(batch=1, dims=2, **inputs):
    shape = (batch, 4, 3, 8, 8) if dims == 3 else (batch, 4, 8, 8)
    graph = Graph.mixture("CONST", latent={"samples": torch.zeros(shape)}, dims=dims)
    given = dict(
        model=graph.model, seed=3, steps=4, cfg=1.0, sampler_name="euler", scheduler="simple", denoise=1.0,
        positive=graph.positive, negative=graph.negative, latent_image=graph.latent, vae=PixelVAE(), keep_top=3,
        candidates=9, verifier=judge(), prompt="a red cube",
    )  # fmt: skip
    return NoiseSearchKSampler.execute(**(given | inputs)).result[8]


def told(report, top=8, width=640, theme="dark"):
    output = NoiseSearchReport.execute(report, top, width, theme)
    text, picture, whole = output.result
    assert json.loads(whole) == report
    assert (
        picture.shape[0] == 1 and picture.shape[2:] == (width, 3) and 0 <= picture.min() <= picture.max() <= 1
    )
    return text.splitlines(), picture, output.ui


def test_the_lines_of_a_random_search():
    report = searched()
    image = report["images"][0]
    best, first = image["winner"]["scores"][0], image["candidates"][0]["scores"][0]
    second = image["candidates"][image["ranking"][1]]
    lines, _, _ = told(report)
    assert image["winner"]["seed"] != 3, "the first candidate won: nothing was shown"
    assert (
        lines[0] == f"Winner: seed {image['winner']['seed']}, score {best:.3g} (first candidate {first:.3g})"
    )
    assert lines[1].startswith(f"Next best: seed {second['noise']['seed']} ({second['scores'][0]:.3g}), ")
    assert lines[2].startswith("8 more: expected gain +")
    assert lines[3] == "Prompt: a red cube"
    assert lines[4].startswith("Cost: 9 candidates, 36 NFE, ") and "the budget is spent" in lines[4]
    assert all(line.startswith("Note: ") for line in lines[5:])


def test_the_picture_shows_the_best_and_is_in_the_node(temp):
    report = searched()
    lines, picture, ui = told(report, width=1000, theme="light")
    (shown,) = ui["images"]
    saved = Image.open(temp / shown["subfolder"] / shown["filename"])
    assert (saved.width, saved.height) == (1000, picture.shape[1]) and shown["type"] == "temp"
    assert ui["text"] == ["\n".join(lines)]
    winner = report.pictures[0][0][2].float() / 255
    # its tile: below the curve, at the left; its middle pixel as it came out
    tile = picture[0, -340:-60, 40:340]
    nearest = (tile - winner[winner.shape[0] // 2, winner.shape[1] // 2]).abs().sum(-1).min()
    assert nearest < 0.05


@pytest.mark.parametrize("theme", THEMES)
def test_themes_differ(theme):
    _, picture, _ = told(searched(), theme=theme)
    corner = picture[0, 2, 2]
    assert (corner < 0.2).all() if theme == "dark" else (corner > 0.9).all()


def test_top_images_are_as_many_as_asked_for():
    report = searched(keep_top=6, candidates=9)
    heights = [told(report, top=top)[1].shape[1] for top in (0, 3, 6)]
    assert heights == sorted(heights) and len(set(heights)) == 3


@pytest.mark.parametrize(
    "inputs, words",
    [
        (dict(search=ZeroOrder(2)), ["found from seed 3", "candidate ", "build on one another"]),
        (dict(search=SearchOverPaths(2, 2), budget_nfe=60), ["found from seed ", "build on one another"]),
        (dict(candidates=1, verifier=None), ["Winner: seed 3, not judged", "Cost: 1 image, 4 NFE"]),
        (
            dict(verifier=Ensemble((judge(), judge(2)), (0.0, 1.0), held_out=judge(3))),
            ["Winner: seed ", "target "],
        ),
        (dict(batch=2), ["Image 1 of 2", "Image 2 of 2", "Cost: 18 candidates, 72 NFE"]),
        (dict(dims=3), ["Winner: seed "]),
        (dict(prompt="ein \u4e2d\u6587 " + "long " * 200), ["Prompt: ein \u4e2d\u6587"]),
    ],
    ids=["zero-order", "paths", "plain", "ensemble", "batch", "video", "long prompt"],
)
def test_every_kind_of_search_can_be_reported(inputs, words):
    lines, _, _ = told(searched(**inputs))
    text = "\n".join(lines)
    assert [word for word in words if word not in text] == []


def test_the_leading_judge_speaks_and_the_others_are_named():
    class Named(TargetVerifier):
        pass

    one, two, three = (Named(PixelVAE().decode(some_latent(seed=s))[0]) for s in (1, 2, 3))
    one.name, two.name, three.name = "first", "second", "witness"
    report = searched(verifier=Ensemble((one, two), (0.0, 1.0), held_out=three))
    winner = report["images"][0]["winner"]
    line = told(report)[0][0]
    assert f"score {winner['scores'][1]:.3g}" in line
    assert f"first {winner['scores'][0]:.3g}" in line and f"witness {winner['held_out']:.3g}" in line


def test_scored_images_are_reported_too():
    images = [torch.rand(1, 8, 8, 3, generator=torch.Generator().manual_seed(s)) for s in range(5)]
    output = NoiseSearchScoreImages.execute(images, [judge()], [""], [2], [-1e6]).result
    report = output[5]
    lines, _, _ = told(report)
    assert lines[0] == "2 of 5 images kept."
    assert lines[1].startswith(f"Best: image {report['order'][0]} (")
    assert [place for place, *_ in report.pictures[0]] == report["kept"]


def test_candidates_that_nobody_could_judge_are_reported():
    class Blind(TargetVerifier):
        def score(self, batch):
            return torch.full((len(batch.images),), float("nan"))

    lines, _, _ = told(searched(verifier=Blind(PixelVAE().decode(some_latent(seed=1))[0])))
    assert "score not judged" in lines[0] and any("could not be judged" in line for line in lines)


@pytest.mark.parametrize("report", [{}, {"images": []}, {"images": 3, "totals": {}}, {"kept": []}])
def test_what_is_no_report_is_refused(report):
    with pytest.raises(ValueError, match="Connect the report output"):
        NoiseSearchReport.execute(Report(report), 8, 640, "dark")


def test_a_report_without_pictures_still_has_its_curve():
    report = searched()
    assert told(Report(report))[1].shape[1] > 250


@torch.inference_mode()
def test_the_noises_of_a_long_climb_do_not_grow_with_its_square(monkeypatch):
    """Those of the best are told whole; of the others where they begin and how much is left out."""
    search = dict(search=ZeroOrder(1, pivot="always move"), candidates=9)
    whole = searched(**search)["images"][0]
    counts = {one["id"]: len(one["noise"].get("moves", ())) for one in whole["candidates"]}
    assert sorted(counts.values()) == list(range(9))
    monkeypatch.setattr(report_module, "MOST_DRAWS", sum(counts[id] + 1 for id in whole["ranking"][:3]))
    image = searched(**search)["images"][0]
    assert image["winner"]["recipe"] == whole["winner"]["recipe"]
    for one, full in zip(image["candidates"], whole["candidates"]):
        if one["id"] in whole["ranking"][:3] or counts[one["id"]] == 0:
            assert one == full
        elif one["noise"] != full["noise"]:
            assert one == {**full, "noise": {"seed": 3, "left_out": counts[one["id"]]}}
    told = [one["noise"] for one in image["candidates"] if "left_out" not in one["noise"]]
    assert 3 <= len(told) < 9
    cut = next(one for one in image["candidates"] if "left_out" in one["noise"])
    assert name_of(cut) == f"candidate {cut['id']}"


def page_of(width=640):
    page = report_picture._Page(width, THEMES["dark"])
    page.drawn = []
    page.text = lambda at, text, *_: page.drawn.append(text)
    return page


@pytest.mark.parametrize(
    "text, lines",
    [("a" * 100_000, 1), ("ab " * 40_000, 2), ("\u4e2d" * 100_000, 1)],
    ids=["word", "words", "cjk"],
)
def test_a_long_prompt_is_cut_without_measuring_all_of_it(text, lines):
    """It is anybody's text: what is drawn are the most letters that fit, found in few tries."""
    page, measured = page_of(), []
    measure = page.measure
    page.measure = lambda some, size: measured.append(len(some)) or measure(some, size)
    page.words(text, 15, "white", lines=2)
    assert sum(measured) < 60_000 and len(page.drawn) == lines
    room = 640 - 2 * report_picture.MARGIN
    assert all(room - 40 < measure(line, 15) <= room for line in page.drawn)
    assert page.drawn[-1].endswith(" ...")


@pytest.mark.parametrize("room", [-5, 0, 3, 20, 21, 60, 200])
def test_what_fits_is_the_longest_beginning_that_does(room):
    page, text = page_of(), "candidate 12345, and a few words"
    beginnings = [text[:n].rstrip() + " ..." for n in range(1, len(text))]
    fitting = [cut for cut in ([text, *beginnings[::-1]]) if page.measure(cut, 13) <= room]
    assert page.fit(text, 13, room) == (fitting[0] if fitting else "")


@pytest.mark.parametrize("searches, top, width", [(1, 64, 4096), (8, 64, 1024), (8, 64, 480), (8, 1, 4096)])
def test_the_picture_is_not_taller_than_can_be_shown(searches, top, width, monkeypatch):
    """Many images are shown smaller, all of them."""
    candidate = {"id": 0, "noise": {"seed": 3}, "scores": [0.5], "stop": 0, "nfe": 4}
    image = {"winner": {"seed": 3, "scores": [0.5], "id": 0}, "candidates": [candidate], "ranking": [0]}
    image |= {"search_nfe": 4, "final_nfe": 0, "seconds": 1.0, "curve": []}
    report = {"images": [image] * searches, "totals": {}, "search": {}, "verifiers": ["a judge"] * 500}
    pictures = [[(0, [0.5], torch.zeros(18, 10, 3, dtype=torch.uint8))] * top] * searches
    tiles = []
    monkeypatch.setattr(report_picture._Page, "_tile", lambda self, corner, size, *_: tiles.append(corner))
    monkeypatch.setattr(report_picture, "FINE", 1)
    picture = report_picture.picture_of(report, pictures, top, width)
    assert picture.height <= report_picture.TALLEST
    assert picture.height * width <= report_picture.MOST_PIXELS
    assert len(set(tiles)) == searches * top


def test_an_axis_has_few_round_ticks():
    assert [label for _, label in _ticks(-0.7, 1.3)] == ["-0.5", "0.0", "0.5", "1.0"]
    assert [label for _, label in _ticks(0, 384, 6)] == ["0", "100", "200", "300"]
    assert _range([1.0, 1.0]) == pytest.approx((0.994, 1.008))
    low, high = _range([-1000.0, 0.0, 0.5, 0.6, 1.0])
    assert -2 < low < 0 and high > 1.0
