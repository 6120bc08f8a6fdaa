"""ImageReward through its own package: a stand-in for it, since the real one does not import beside current packages."""

import sys
import types
import warnings

import numpy as np
import pytest
import torch
from test_verifiers_image_reward import write
from verifier_helpers import add_root, images, pil

from noisesearch.nodes.verifiers import NoiseSearchLoadVerifier
from noisesearch.verifiers import files
from noisesearch.verifiers.base import Batch


class Network(torch.nn.Module):
    """Scores as the package's class does: one prompt, one PIL image, a float. Red counts, and the prompt's length."""

    def __init__(self, path, config):
        super().__init__()
        self.path, self.config, self.device = path, config, None
        self.gain = torch.nn.Parameter(torch.tensor(2.0))

    def score(self, prompt, image):
        red = torch.tensor(np.array(image), dtype=torch.float32, device=self.device)[..., 0].mean()
        return (self.gain * red / 255 + len(prompt)).detach().item()


@pytest.fixture
def package(monkeypatch):
    module = types.ModuleType("ImageReward")
    module.load = lambda name, device, med_config: Network(name, med_config).to(device)
    monkeypatch.setitem(sys.modules, "ImageReward", module)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    root = add_root(monkeypatch, files.VERIFIERS, tmp_path)
    write(root / "ImageReward.pt")
    (root / "med_config.json").write_text("{}")
    return root


def load():
    return NoiseSearchLoadVerifier.execute("ImageReward (package)", "auto", "auto").result[0]


def test_the_package_scores_the_saved_picture(package, folder):
    judge, batch = load(), images(3)
    red = torch.tensor([np.array(pil(image))[..., 0].mean() / 255 for image in batch])
    assert (judge.score(Batch(batch, "four")) - (2 * red + 4)).abs().max() < 1e-5
    network = judge.model.network
    assert (network.path, network.config) == (str(folder / "ImageReward.pt"), str(folder / "med_config.json"))
    assert network.device.type == "cpu" and not network.training
    assert judge.notes("word " * 40) == ("reads 35 of the prompt's 42 tokens; the end is ignored",)
    with pytest.raises(ValueError, match="prompt, which is empty"):
        judge.score(Batch(batch))


def test_without_the_package_the_other_scorer_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ImageReward", None)
    with pytest.raises(ImportError, match='The scorer "ImageReward" reads the same file'):
        load()


def test_a_package_that_breaks_in_its_own_way_is_told_and_leaves_the_warnings_on(
    folder, tmp_path, monkeypatch
):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "ImageReward.py").write_text(
        "import warnings\nwarnings.filterwarnings('ignore')\nraise AttributeError('no apply_chunking_to_forward')"
    )
    monkeypatch.syspath_prepend(tmp_path / "other")
    monkeypatch.delitem(sys.modules, "ImageReward", raising=False)
    filters = list(warnings.filters)
    with pytest.raises(ImportError, match="AttributeError: no apply_chunking_to_forward"):
        load()
    assert warnings.filters == filters


def test_files_it_would_take_badly_are_refused_before_it_sees_them(package, folder):
    (folder / "med_config.json").unlink()
    with pytest.raises(FileNotFoundError, match="med_config.json beside ImageReward.pt"):
        load()
    torch.save({"weight": torch.zeros(2)}, folder / "ImageReward.pt")
    with pytest.raises(ValueError, match="does not hold ImageReward as published"):
        load()
