"""The benchmarks' figures for populations, on sets whose answer is known."""

import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def populations():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import _populations
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return _populations


@pytest.fixture(scope="module")
def trials(populations):
    return sys.modules["_trials"]


def test_the_inception_score_counts_sure_and_even_classes(populations):
    sure = torch.eye(10).repeat(3, 1)
    assert populations.inception_score(sure) == pytest.approx(10)
    assert populations.inception_score(sure[:20:2]) == pytest.approx(5)  # five classes only
    assert populations.inception_score(torch.full((30, 10), 0.1)) == pytest.approx(1)
    assert populations.inception_score(sure[:1].repeat(30, 1)) == pytest.approx(
        1
    )  # sure, but always the same
    p = torch.rand(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p /= p.sum(1, keepdim=True)
    entropy = -(p * p.log()).sum(1).mean()
    assert populations.inception_score(p) == pytest.approx(
        torch.exp(torch.special.entr(p.mean(0)).sum() - entropy).item()
    )


def test_precision_and_recall_tell_a_lost_mode_from_bad_samples(populations):
    generator = torch.Generator().manual_seed(0)
    one, other, far = (
        torch.randn(100, 2, generator=generator, dtype=torch.float64) + offset for offset in (0, 20, 60)
    )
    real = torch.cat([one, other])

    def among(points, others):
        return populations._among(points, others).mean()

    same = (
        torch.randn(200, 2, generator=generator, dtype=torch.float64)
        + torch.tensor([0.0, 20.0]).repeat_interleave(100)[:, None]
    )
    assert among(real, same) > 0.9 and among(same, real) > 0.9
    half = same[:100]
    assert among(half, real) > 0.9 and 0.4 < among(real, half) < 0.55  # a lost mode costs recall
    mixed = torch.cat([same, far])
    assert among(real, mixed) > 0.9 and 0.6 < among(mixed, real) < 0.7  # bad samples cost precision


def test_the_jackknife_of_a_mean_is_its_interval(trials):
    """By algebra, also when several values belong to one problem; and a statistic that is no mean has a spread of the right size."""
    values = torch.randn(60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for per in (1, 3):
        assert trials.jackknife(lambda some: some.mean(), values, per) == pytest.approx(
            trials.mean(values, per)
        )
    draws = torch.randn(400, 200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = [trials.jackknife(lambda some: some.var(), row) for row in draws]
    inside = sum(abs(middle - 1) <= about for middle, about in found) / len(found)
    assert 0.91 < inside < 0.98
