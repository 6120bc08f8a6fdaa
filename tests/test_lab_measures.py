"""The laboratory's ruler and tables: the Frechet distance, precision and recall, results that are kept, the optimal triple."""

import pytest
import torch

from noisesearch.lab import features, scaling
from noisesearch.lab.mixture import sliced_distance
from noisesearch.lab.results import Table, rounded


def points(count, seed, shift=0.0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, 16, dtype=torch.float64, generator=generator) + shift


def test_frechet_distance_by_formula():
    a = points(4000, 1)
    assert features.frechet(a, a) == pytest.approx(0, abs=1e-8)
    assert features.frechet(a + 0.5, a) == pytest.approx(16 * 0.25, abs=1e-8)
    assert features.frechet(3 * (a - a.mean(0)), a - a.mean(0)) == pytest.approx(
        4 * float(torch.cov(a.T).trace()), rel=1e-8
    )


def test_precision_and_recall_see_what_is_missing():
    real = points(500, 1)
    half = real[:, 0] > 0
    assert features.within(points(500, 2), real) > 0.6
    assert features.within(points(500, 2, shift=20.0), real) == 0.0
    narrow, wide = points(500, 2, scale=0.3), points(500, 2, scale=3.0)
    assert (
        features.within(narrow, real) > 0.95 > 0.3 > features.within(real, narrow)
    )  # sure of itself, without variety
    assert features.within(wide, real) < 0.3 < features.within(real, wide)
    assert half.any()


def test_the_reference_is_the_one_that_was_fixed():
    """docs/lab/fixed_beforehand.md names its hash; every fifth real digit, centred."""
    import hashlib

    fixed = (features.REFERENCE.parents[2] / "docs" / "lab" / "fixed_beforehand.md").read_text("utf-8")
    assert hashlib.sha256(features.REFERENCE.read_bytes()).hexdigest()[:16] in fixed
    real = features.reference()
    assert real.points.shape == (2004, 16) and real.points.mean(0).abs().max() < 1e-3
    assert (real.axes.T @ real.axes - torch.eye(16)).abs().max() < 1e-5
    own = features.measure(real.centre + real.points @ real.axes.T)
    assert own["fid"] == pytest.approx(0, abs=1e-3) and own["precision"] == own["recall"] == 1.0


def test_a_table_measures_once(tmp_path):
    table = Table("numbers", tmp_path)
    assert table.row("a", lambda: {"x": 1 / 3}) == {"x": 0.33333}
    again = Table("numbers", tmp_path)
    assert again.row("a", lambda: pytest.fail("measured twice")) == {"x": 0.33333}
    assert rounded([1e-9 / 3, {"b": (2, "c")}]) == [3.3333e-10, {"b": [2, "c"]}]


def test_cost_grows_with_width():
    costs = [scaling.gflops(width) for width in (32, 64, 128)]
    assert costs[0] < costs[1] / 3 < costs[2] / 9
    assert scaling.training_gflops(32, 10) == pytest.approx(3840 * costs[0])


def test_the_winner_of_a_search_and_the_optimal_triple(monkeypatch):
    monkeypatch.setattr(features, "measure", lambda seen: {"fid": float(seen.sum())})
    monkeypatch.setattr(features, "fid_error", lambda seen: 0.5)
    told = lambda found: (found["accuracy"], found["fid"], found["fid +-"])  # noqa: E731
    scores = torch.tensor([[0.1, 0.9, 0.2], [0.3, 0.2, 0.8]])
    right = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    seen = torch.arange(6.0).view(2, 3, 1)
    assert told(scaling.best_of((scores, right, seen), 1)) == (0.5, 3.0, 0.5)
    assert told(scaling.best_of((scores, right, seen), 2)) == (1.0, 4.0, 0.5)
    assert told(scaling.best_of((scores, right, seen), 3)) == (0.5, 6.0, 0.5)
    rows = [
        {"gflops": 1.0, "accuracy": 0.5, "fid": 9.0},
        {"gflops": 2.0, "accuracy": 0.9, "fid": 12.0},
        {"gflops": 4.0, "accuracy": 0.9, "fid": 5.0},
    ]
    assert scaling.optimal(rows, (0.5, 1, 3, 9)) == {1: rows[0], 3: rows[1], 9: rows[1]}
    assert scaling.optimal(rows, (3, 9), by="fid") == {3: rows[0], 9: rows[2]}


def test_intervals():
    """Wilson's from his formula's textbook case (10 of 20), and one that stays a share; the bootstrap of a distance shrinks with the root of the sample."""
    assert scaling.wilson(10, 20) == pytest.approx([0.2993, 0.7007], abs=1e-4)
    low, high = scaling.wilson(20, 20)
    assert low == pytest.approx(0.8389, abs=1e-4) and high == 1.0
    real = features.Reference(
        torch.zeros(16, dtype=torch.float64), torch.eye(16, dtype=torch.float64), points(500, 1)
    )
    few, many = (features.fid_error(points(n, 2, shift=1.0), draws=50, real=real) for n in (100, 1600))
    assert 2.5 < few / many < 6.5
    # the shift alone moves the distance by 2 sum(shift error): 1.96 * 2 * sqrt(16 / 1600)
    assert many == pytest.approx(1.96 * 2 * 0.1, rel=0.4)


def test_few_real_digits_are_not_at_zero():
    few, many, all_of_them = (features.floor(n, draws=5) for n in (100, 400, 2004))
    assert few > 2 * many > 0 and all_of_them == pytest.approx(0, abs=1e-3)


def test_sliced_distance_of_a_shift():
    a = torch.randn(500, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert sliced_distance(a, a) == 0.0
    assert sliced_distance(a + torch.tensor([1.0, 0.0]), a) == pytest.approx(0.5**0.5, rel=1e-6)
    with pytest.raises(ValueError, match="one size"):
        sliced_distance(a, a[1:])
