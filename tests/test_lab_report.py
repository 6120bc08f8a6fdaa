"""The laboratory's pages: written from lab/results and from nothing else, with ratios and choices that are right."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import _lab_claims as claims  # noqa: E402
import _lab_report as report  # noqa: E402
import _lab_tables as tables_of  # noqa: E402

from noisesearch.lab.results import Table  # noqa: E402


@pytest.fixture(scope="module")
def tables():
    return {name: Table(name).rows for name in report.PARTS}


@pytest.mark.parametrize("path", sorted(report.DOCS.glob("*.md")), ids=lambda p: p.name)
def test_pages_say_what_was_measured(path, tables):
    blocks = {name: make(tables) for name, make in report.BLOCKS.items()}
    text = path.read_text("utf-8")
    assert report.filled(text, blocks) == text, "run `python tools/dev.py bench lab -- --docs`"
    for name in blocks:
        changed = report.filled(text, {**blocks, name: "something else"})
        assert (changed != text) == (f"<!-- {name} -->" in text)


def test_every_table_has_its_place():
    pages = "".join(path.read_text("utf-8") for path in report.DOCS.glob("*.md"))
    assert [name for name in report.BLOCKS if f"<!-- {name} -->" not in pages] == []


def test_a_ratio_has_the_interval_of_seeds_and_samples():
    own = [{"fid": value} for value in (19.0, 20.0, 21.0)]
    # the mean of three seeds: 4.303 * 1 / sqrt(3) = 2.484 on 20; the teacher: 1 on 10
    assert tables_of.spread([19.0, 20.0, 21.0]) == pytest.approx(2.484, abs=1e-3)
    assert tables_of.ratio(own, {"fid": 10.0, "fid +-": 1.0}) == "2.00 +- 0.32"
    assert tables_of.ratio(own[:1], {"fid": 10.0, "fid +-": 1.0}) == "1.90"
    assert tables_of.ratio(own, {"fid": 10.0}) == "2.00"


def test_the_goals_take_the_best_teacher_of_as_many_samples():
    teachers = {
        "shipped, 12 steps": {"fid": 30.0, "samples": 2000},
        "shipped, 24 steps": {"fid": 10.0, "samples": 2000},
        "shipped, 12 steps, headline": {"fid": 20.0, "samples": 10000},
        "shipped, 40 steps, headline": {"fid": 16.0, "samples": 10000},
    }
    students = {"student 1, two steps, headline": {"fid": 24.0, "samples": 10000}}
    row = tables_of.goal_table({"students": students, "teachers": teachers}).splitlines()[2]
    assert "1.20 (goal 1.10)" in row and "1.50 of 40 steps (goal 1.20)" in row


def test_the_best_within_a_budget():
    rows = [
        {"nfe": 2, "accuracy": 0.5, "fid": 9.0},
        {"nfe": 4, "accuracy": 0.5, "fid": 7.0},
        {"nfe": 8, "accuracy": 0.9, "fid": 8.0},
    ]
    assert tables_of.best_within(rows, "nfe", 4, "accuracy") is rows[0]  # as good for less
    assert tables_of.best_within(rows, "nfe", 8, "fid") is rows[1]
    assert tables_of.best_within(rows, "nfe", 1, "fid") is None


def test_verdicts_follow_from_the_rows(tables):
    found = {claim.text: claim for claim in claims.claims(tables)}
    assert len(found) > 25
    assert {c.verdict for c in found.values()} <= {"yes", "**no**", "undecided", "not done", claims.MISSING}
    worse = {"reflow": {}}
    for name, bend in (("tuned teacher", 0.3), ("as many plain steps", 0.2), ("after reflow", 0.25)):
        worse["reflow"][f"{name}, curvature"] = {"curvature": bend}
    assert [c.verdict for c in claims.straightened(worse["reflow"])] == ["**no**", claims.MISSING]
    worse["reflow"]["after reflow, curvature"] = {"curvature": 0.1}
    assert claims.straightened(worse["reflow"])[0].verdict == "yes"


def test_nothing_is_decided_within_the_margin():
    assert [claims._less(1.0, b, 0.2) for b in (1.1, 1.3, 0.7)] == ["undecided", "yes", "**no**"]
    assert claims.either({"fid +-": 3.0}, {"fid +-": 4.0}) == 5.0


def test_a_search_must_beat_every_control():
    def row(model, accuracy, fid):
        interval = [accuracy - 0.02, accuracy + 0.02]
        return {
            **{"model": model, "gflops": 4 * claims.scaling.gflops(128), "accuracy": accuracy, "fid": fid},
            **{"accuracy interval": interval, "fid +-": 1.0},
        }

    rows = {"a": row("student", 0.9, 10.0), "b": row("shipped teacher", 0.8, 20.0)}
    assert [c.verdict for c in claims.on_the_student(rows, 4)] == 2 * [claims.MISSING]
    rows["c"] = row("tuned teacher, DDPM", 0.91, 8.0)
    assert [c.verdict for c in claims.on_the_student(rows, 4)] == ["undecided", "**no**"]
    rows["c"] = row("tuned teacher, DDPM", 0.8, 15.0)
    assert [c.verdict for c in claims.on_the_student(rows, 4)] == ["yes", "yes"]
    assert claims.scaling.evaluations(rows["a"]) == 4


def test_a_small_upscaler_wins_only_if_the_largest_step_count_has_a_larger_one(monkeypatch):
    monkeypatch.setattr(claims.upscaling, "WIDTHS", (32, 64))
    monkeypatch.setattr(claims.upscaling, "STEPS", (1, 8))

    def rows(*values):
        places = [(32, 1), (32, 8), (64, 1), (64, 8)]
        return {str(p): {"width": p[0], "steps": p[1], "fid": v} for p, v in zip(places, values)}

    assert claims.enlarged(rows(5, 5, 6, 4)).verdict == "yes"
    assert claims.enlarged(rows(5, 4, 6, 5)).verdict == "**no**"
    assert claims.enlarged(rows(6, 5, 5, 4)).verdict == "**no**"
