"""The FID oracle against the textbook formula in float64, and what choosing greedily by it does."""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.linalg import sqrtm
from verifier_helpers import add_root, images

from noisesearch.nodes import feature_verifiers as nodes
from noisesearch.verifiers import files
from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.judges.frechet import FrechetOracle, Statistics, load_statistics, statistics_of


class Corner:
    """The first 12 numbers of an image as its features."""

    def image_features(self, images):
        return images.flatten(1)[:, :12]


@pytest.fixture
def reference():
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(300, 12, generator=generator, dtype=torch.float64) @ torch.randn(
        12, 12, generator=generator, dtype=torch.float64
    )
    return statistics_of(mixed / 10 + 0.5)


def textbook(features, reference):
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), with numpy's covariance and scipy's matrix root."""
    features, mean, covariance = (
        features.double().numpy(),
        reference.mean.numpy(),
        reference.covariance.numpy(),
    )
    own = np.cov(features, rowvar=False) if len(features) > 1 else np.zeros_like(covariance)
    return np.sum((features.mean(0) - mean) ** 2) + np.trace(
        own + covariance - 2 * np.real(sqrtm(own @ covariance))
    )


@pytest.mark.parametrize("accepted", [0, 1, 5, 40])
def test_the_score_is_minus_the_frechet_distance_with_the_candidate_added(reference, accepted):
    pool, candidates = images(accepted, 8, 8, seed=1) if accepted else None, images(4, 8, 8, seed=2)
    scores = FrechetOracle(Corner(), reference, pool).score(Batch(candidates))
    for score, candidate in zip(scores, candidates):
        together = torch.cat([pool, candidate[None]]) if accepted else candidate[None]
        assert -score.item() == pytest.approx(
            textbook(Corner().image_features(together), reference), rel=1e-5, abs=2e-5
        )


def test_the_statistics_of_a_set_are_at_distance_zero_from_it():
    batch = images(50, 8, 8)
    features = Corner().image_features(batch)
    assert FrechetOracle(Corner(), statistics_of(features)).distance(
        features.double()
    ).item() == pytest.approx(0, abs=1e-9)
    assert np.allclose(statistics_of(features).covariance, np.cov(features.double().numpy(), rowvar=False))


def test_choosing_greedily_lowers_the_distance_the_more_there_are_to_choose_from(reference):
    def after(choices):
        oracle = FrechetOracle(Corner(), reference)
        for step in range(15):
            candidates = images(choices, 8, 8, seed=100 * step)
            oracle.accept(candidates[oracle.score(Batch(candidates)).argmax()][None])
        return oracle.distance(oracle.accepted).item()

    one, four, sixteen = after(1), after(4), after(16)
    assert one > four > sixteen


def test_statistics_come_from_files_without_code(tmp_path, reference):
    save_file({"mean": reference.mean, "covariance": reference.covariance}, tmp_path / "a.safetensors")
    np.savez(tmp_path / "b.npz", mu=reference.mean.numpy(), sigma=reference.covariance.numpy())
    for name in ("a.safetensors", "b.npz"):
        loaded = load_statistics(tmp_path / name)
        assert torch.equal(loaded.mean, reference.mean) and torch.equal(
            loaded.covariance, reference.covariance
        )

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    np.savez(tmp_path / "objects.npz", mu=np.array([Payload()], dtype=object), sigma=np.eye(1))
    np.savez(tmp_path / "other.npz", weights=np.eye(2))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not really")
    for name, message in {
        "objects.npz": "was refused",
        "broken.npz": "was refused",
        "other.npz": "needs the arrays mu and sigma",
    }.items():
        with pytest.raises(ValueError, match=message):
            load_statistics(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_statistics_that_do_not_fit_are_refused(reference):
    with pytest.raises(ValueError, match=r"\[3\] and \[2, 2\]"):
        Statistics(torch.zeros(3), torch.eye(2))
    with pytest.raises(ValueError, match="NaN"):
        Statistics(torch.zeros(2), torch.full((2, 2), torch.nan))
    with pytest.raises(ValueError, match="at least 2 images"):
        statistics_of(torch.zeros(1, 4))
    with pytest.raises(ValueError, match="have 2 features and this network gives 12"):
        FrechetOracle(Corner(), Statistics(torch.zeros(2), torch.eye(2))).score(Batch(images(1)))


def test_the_nodes_make_the_oracle(tmp_path, monkeypatch, reference):
    save_file(
        {"mean": reference.mean, "covariance": reference.covariance},
        add_root(monkeypatch, files.VERIFIERS, tmp_path) / "stats.safetensors",
    )
    (loaded,) = nodes.NoiseSearchLoadFeatureStatistics.execute("stats.safetensors").result
    (made,) = nodes.NoiseSearchFeatureStatistics.execute(Corner(), images(30)).result
    for statistics in (loaded, made):
        (oracle,) = nodes.NoiseSearchFidOracle.execute(Corner(), statistics, images(3)).result
        assert (oracle.score(Batch(images(2))) < 0).all() and len(oracle.accepted) == 3
