"""ImageReward through its own package: a stand-in for it, since the real one does not import beside current packages.

`make test-image-reward` runs this file where the real package is, for the last test.
"""

import json
import shutil
import sys
import types
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from reward_weights import weights
from test_verifiers_image_reward import write
from tiny_verifiers import PackagedNetwork
from verifier_helpers import add_root, images, pil

from noisesearch.nodes.verifiers import NoiseSearchLoadVerifier
from noisesearch.verifiers import files
from noisesearch.verifiers.base import Batch


@pytest.fixture
def package(monkeypatch):
    module = types.ModuleType("ImageReward")
    module.load = lambda name, device, med_config: PackagedNetwork(name, med_config).to(device)
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


def test_settings_of_absurd_size_and_files_that_torch_refuses_are_refused(package, folder):
    (folder / "med_config.json").write_text('{"hidden_size": 1000000000}')
    with pytest.raises(ValueError, match="med_config.json does not hold the package's settings"):
        load()
    (folder / "med_config.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="med_config.json does not hold the package's settings"):
        load()


SETTINGS = {
    "hidden_size": 768,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 12,
    "max_position_embeddings": 64,
    "vocab_size": 30524,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "add_cross_attention": True,
}


@pytest.mark.skipif(
    find_spec("ImageReward") is None,
    reason="the package image-reward is not installed: make test-image-reward has an environment for it",
)
def test_the_real_package_loads_and_scores_as_our_own(tmp_path, monkeypatch):
    """Its own import, `load` and `score`; smaller only in the size of its picture network, which it has no setting for."""
    import ImageReward
    from ImageReward.models.BLIP import blip_pretrain
    from ImageReward.models.BLIP.vit import VisionTransformer

    def small(*sizes):
        return VisionTransformer(img_size=224, patch_size=16, embed_dim=128, depth=2, num_heads=2), 128

    monkeypatch.setattr(blip_pretrain, "create_vit", small)
    words = Path(__file__).parent.parent / "models" / "verifiers" / "bert_vocab.txt"
    (tmp_path / "bert-base-uncased").mkdir()
    shutil.copy(words, tmp_path / "bert-base-uncased" / "vocab.txt")
    monkeypatch.chdir(tmp_path)  # where it finds BERT's tokenizer instead of fetching it
    root = add_root(monkeypatch, files.VERIFIERS, tmp_path / "verifiers")
    (root / "med_config.json").write_text(json.dumps(SETTINGS))
    network = ImageReward.ImageReward(str(root / "med_config.json"))
    shapes = {
        name: tuple(value.shape)
        for name, value in network.state_dict().items()
        if not name.endswith("position_ids")
    }
    torch.save(
        {name: torch.from_numpy(value) for name, value in weights(shapes).items()}, root / "ImageReward.pt"
    )
    (ours,) = NoiseSearchLoadVerifier.execute("ImageReward", "auto", "auto").result
    theirs, batch = load(), images(3, 70, 90)
    for prompt in ("a cat", "A painting of a cat, by Café Zürich; 3.5x zoom", "word " * 50):
        scores = theirs.score(Batch(batch, prompt))
        assert (scores - ours.score(Batch(batch, prompt))).abs().max() <= 1e-6
        assert scores.std() > 1e-3
    assert type(theirs.model.network).__module__.startswith("ImageReward")
