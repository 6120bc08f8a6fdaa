"""FID's Inception against the package pytorch-fid, the Inception of ImageNet's classes against timm used directly; random weights of the true layouts."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from inception_weights import pictures, weights
from safetensors.torch import save_file
from torchvision.models import inception_v3
from verifier_helpers import add_root, images, pil

from noisesearch.nodes import class_verifiers, feature_verifiers
from noisesearch.verifiers import files
from noisesearch.verifiers.networks.weights import WrongFile, load_weights
from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.catalogue import FID_INCEPTION, INCEPTION
from noisesearch.verifiers.networks.inception import FidInception, InceptionClassifier, load_fid_inception

REFERENCE = json.loads(
    (Path(__file__).parent / "fixtures" / "fid_inception.json").read_text(encoding="utf-8")
)["values"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A models/verifiers with both files under their published names."""
    folder = tmp_path_factory.mktemp("inception")
    plain = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    shapes = {name: tuple(value.shape) for name, value in plain.state_dict().items()}
    torch.save(
        {name: torch.from_numpy(value) for name, value in weights(shapes).items()},
        folder / FID_INCEPTION.name,
    )
    torch.manual_seed(0)
    save_file(timm.create_model("inception_v3").state_dict(), folder / INCEPTION.name)
    return folder


def test_features_are_those_of_pytorch_fid(folder):
    network = FidInception(folder / FID_INCEPTION.name)
    for picture, expected in zip(pictures(), REFERENCE["features"]):
        saved = (
            torch.from_numpy(picture).mul(255).round() + 0.5
        ) / 255  # what truncation to 8 bits leaves as it is
        (features,) = network.image_features(saved.movedim(0, -1)[None])
        assert features.shape == (2048,)
        expected = torch.tensor(expected)
        assert (features[::16] - expected).abs().max() < 1e-4 * expected.abs().max() and expected.std() > 0.1


def test_without_tensorflows_poolings_the_features_are_others(folder):
    """The test above would see it: torchvision's own network, with the same weights, is far off."""
    plain = inception_v3(
        weights=None, num_classes=1008, aux_logits=False, transform_input=False, init_weights=False
    )
    plain.load_state_dict(load_weights(folder / FID_INCEPTION.name))
    plain.fc = torch.nn.Identity()
    pixels = torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        ours, theirs = (
            load_fid_inception(folder / FID_INCEPTION.name).train(False)(pixels),
            plain.train(False)(pixels),
        )
    assert (ours - theirs).abs().max() > 0.01 * theirs.abs().max()


def test_a_batch_equals_its_images_one_by_one(folder):
    network, batch = FidInception(folder / FID_INCEPTION.name), images(3, 70, 90)
    together, singles = (
        network.image_features(batch),
        torch.cat([network.image_features(image[None]) for image in batch]),
    )
    assert (together - singles).abs().max() < 1e-5 * singles.abs().max()


@torch.no_grad()
def test_the_classifier_is_timms_with_its_own_preprocessing(folder, monkeypatch):
    add_root(monkeypatch, files.VERIFIERS, folder)
    config = timm.get_pretrained_cfg("inception_v3.tf_in1k")
    look = timm.data.create_transform(
        config.input_size,
        is_training=False,
        interpolation=config.interpolation,
        mean=config.mean,
        std=config.std,
        crop_pct=config.crop_pct,
    )
    network, batch = timm.create_model("inception_v3").train(False), images(2, 400, 380)
    network.load_state_dict(load_weights(folder / INCEPTION.name))
    expected = network(torch.stack([look(pil(image)) for image in batch])).log_softmax(1)[:, 281]
    judge, features = class_verifiers.NoiseSearchImageNetClassifier.execute(
        "tabby cat", "log-probability", "cpu", "Inception v3"
    ).result
    assert (judge.score(Batch(batch)) - expected).abs().max() < 1e-4
    assert features.image_features(batch).shape == (2, 2048)


def test_other_files_are_refused(folder, tmp_path):
    for name, loader in ((FID_INCEPTION.name, FidInception), (INCEPTION.name, InceptionClassifier)):
        good = load_weights(folder / name)
        for kind, state in {
            "flat": {k: v.flatten() for k, v in good.items()},
            "names": {f"other.{k}": v for k, v in good.items()},
            "half": dict(list(good.items())[::2]),
        }.items():
            torch.save(state, tmp_path / f"{kind}.pth")
            with pytest.raises(WrongFile, match=f"{kind}.pth does not hold the weights of .*Inception"):
                loader(tmp_path / f"{kind}.pth")


def test_the_oracle_takes_statistics_of_fid_tools(folder, tmp_path, monkeypatch):
    """The whole way of a user: their .npz and this network, by the nodes; the nearer to the reference, the better."""
    add_root(monkeypatch, files.VERIFIERS, folder)
    root = add_root(monkeypatch, files.VERIFIERS, tmp_path)
    (network,) = feature_verifiers.NoiseSearchLoadFeatures.execute("Inception (FID)", "auto", "cpu").result
    features = network.image_features(images(6, 40, 40, seed=3)).double()
    np.savez(
        root / "fid_stats.npz", mu=features.mean(0).numpy(), sigma=np.cov(features.numpy(), rowvar=False)
    )
    (statistics,) = feature_verifiers.NoiseSearchLoadFeatureStatistics.execute("fid_stats.npz").result
    (oracle,) = feature_verifiers.NoiseSearchFidOracle.execute(network, statistics, None).result
    scores = oracle.score(Batch(torch.cat([images(2, 40, 40, seed=4), torch.zeros(1, 40, 40, 3)])))
    assert scores.argmin() == 2 and (scores <= 0).all()
