"""PickScore, HPSv2, the aesthetic score and the zero-shot classifier against their published formulas, on tiny CLIPs of the real layout."""

import json
from pathlib import Path

import open_clip
import pytest
import torch
from hps_pictures import KEPT, pictures
from torchvision.transforms import Compose, InterpolationMode, Normalize, ToTensor
from torchvision.transforms import functional as TF
from verifier_helpers import add_root, images, pil, write_clip_folder

from noisesearch.nodes import class_verifiers, verifiers
from noisesearch.verifiers import files
from noisesearch.verifiers.networks import managed
from noisesearch.verifiers.judges.aesthetic import Aesthetic
from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.catalogue import load_verifier
from noisesearch.verifiers.networks.clip_models import by_file
from noisesearch.verifiers.networks.clip_vision import ClipVisionFeatures
from noisesearch.verifiers.networks.clip_tower import load_tower
from noisesearch.verifiers.judges.preference import HumanPreference, PickScore, WholeImage
from noisesearch.verifiers.networks.preprocess import CLIP_MEAN, CLIP_STD
from noisesearch.verifiers.judges.zero_shot import ZeroShotClassifier, read_class

PROMPT = "a cat on a mat"
CLASSES = ("cat", "house cat", "dog")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clip_folder(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture(scope="module")
def original(folder):
    """open_clip's own network, transform and tokenizer of that folder."""
    return *open_clip.create_model_from_pretrained(f"local-dir:{folder}"), open_clip.get_tokenizer(
        f"local-dir:{folder}"
    )


def hps_transform(size):
    """HPSv2's published preprocessing in torchvision's terms."""

    def longest_side(image):
        scale = size / max(image.shape[1:])
        height, width = (round(side * scale) for side in image.shape[1:])
        image = (
            TF.resize(image, [height, width], InterpolationMode.BICUBIC, antialias=True)
            if scale != 1
            else image
        )
        left, top = (size - width) // 2, (size - height) // 2
        return TF.pad(image, [left, top, size - width - left, size - height - top])

    return Compose([ToTensor(), longest_side, Normalize(CLIP_MEAN, CLIP_STD)])


@torch.no_grad()
@pytest.mark.parametrize(
    "height, width", [(60, 44), (44, 60), (48, 32), (32, 32)]
)  # the first two crop an odd number of pixels
def test_pick_score_is_the_logit(folder, original, height, width):
    """As published: transformers' image processor, the cosine, the network's own scale."""
    from transformers import CLIPImageProcessor

    network, transform, tokenizer = original
    batch, judge = images(4, height, width), PickScore(load_tower(folder))
    processor = CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, do_convert_rgb=True
    )
    pixels = processor([pil(image) for image in batch], return_tensors="pt")["pixel_values"]
    assert (
        judge.look()(batch) - pixels
    ).abs().max() < 0.02  # a level of 255, which transformers 5 resizes to otherwise
    assert ((transform(pil(batch[0])) - pixels[0]).abs().max() > 0.2) == (
        60 in (height, width)
    )  # open_clip crops one pixel further there
    logits = network.get_logits(judge.look()(batch), tokenizer([PROMPT]))[0][:, 0]
    assert (judge.score(Batch(batch, PROMPT)) - logits).abs().max() < 1e-4
    assert judge.notes("word " * 30)[0].startswith("reads 16")


@torch.no_grad()
@pytest.mark.parametrize("height, width", [(60, 44), (24, 40), (32, 32), (300, 150)])
def test_hps_sees_the_whole_image(folder, original, height, width):
    network, _, tokenizer = original
    batch = images(3, height, width)
    pixels = torch.stack([hps_transform(32)(pil(image)) for image in batch])
    assert (WholeImage(32)(batch) - pixels).abs().max() < 1e-5
    cosine = torch.cosine_similarity(network.encode_image(pixels), network.encode_text(tokenizer([PROMPT])))
    assert (HumanPreference(load_tower(folder)).score(Batch(batch, PROMPT)) - cosine).abs().max() < 1e-5


def test_hps_preprocesses_as_its_package_does():
    reference = json.loads((Path(__file__).parent / "fixtures" / "hps.json").read_text(encoding="utf-8"))[
        "values"
    ]["pixels"]
    for picture, expected in zip(pictures(), reference):
        batch = ((torch.from_numpy(picture).float() + 0.5)[None] / 255).clamp(
            max=1
        )  # which ComfyUI's truncation turns back into the same bytes
        assert (WholeImage(224)(batch)[0].flatten()[KEPT] - torch.tensor(expected)).abs().max() < 1e-4, (
            picture.shape
        )


def test_one_tower_serves_two_ways_of_looking(folder):
    tower, batch = load_tower(folder), Batch(images(3, 60, 30), PROMPT)
    first, second = PickScore(tower).score(batch), HumanPreference(tower).score(batch)
    assert not torch.allclose(first / tower.scale, second)
    assert torch.equal(PickScore(tower).score(batch), first)


class Features:
    """Unit-length features of the aesthetic head's size."""

    def image_features(self, images):
        return torch.nn.functional.normalize(images.flatten(1)[:, :768], dim=1)


def write_head(path, inputs=768):
    """An aesthetic head of the published layout: layers 0, 2, 4, 6, 7 of a Sequential with dropouts between."""
    torch.manual_seed(1)
    linear, drop = torch.nn.Linear, torch.nn.Dropout
    layers = torch.nn.Sequential(
        linear(inputs, 1024),
        drop(0.2),
        linear(1024, 128),
        drop(0.2),
        linear(128, 64),
        drop(0.1),
        linear(64, 16),
        linear(16, 1),
    )
    torch.save({f"layers.{name}": value for name, value in layers.state_dict().items()}, path)
    return layers.train(False)


@torch.no_grad()
def test_the_aesthetic_head_is_folded_exactly(tmp_path):
    head, batch = write_head(tmp_path / "head.pth"), images(5, 20, 20)
    expected = head.double()(Features().image_features(batch).double())[:, 0]
    assert (Aesthetic(Features(), tmp_path / "head.pth").score(Batch(batch)) - expected).abs().max() < 1e-6


def test_a_head_without_its_clip_is_refused(tmp_path, folder):
    write_head(tmp_path / "head.pth")
    with pytest.raises(ValueError, match="reads 768 image features and was given 16"):
        Aesthetic(load_tower(folder), tmp_path / "head.pth").score(Batch(images(1)))
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="other.pth is not the linear aesthetic head"):
        Aesthetic(Features(), tmp_path / "other.pth")
    state = torch.load(tmp_path / "head.pth", weights_only=True)
    with_relus = {
        f"layers.{new}.{kind}": state[f"layers.{old}.{kind}"]
        for new, old in zip((0, 3, 6, 9, 11), (0, 2, 4, 6, 7))
        for kind in ("weight", "bias")
    }
    torch.save(with_relus, tmp_path / "relu.pth")
    with pytest.raises(ValueError, match=r"relu.pth is not the linear .* has \[0, 3, 6, 9, 11\]"):
        Aesthetic(Features(), tmp_path / "relu.pth")


def test_the_aesthetic_scorer_names_the_clip_it_lacks(tmp_path, monkeypatch):
    write_head(
        add_root(monkeypatch, files.VERIFIERS, tmp_path / "verifiers") / "sac+logos+ava1-l14-linearMSE.pth"
    )
    with pytest.raises(FileNotFoundError, match="ViT-L-14-openai.safetensors .1.7 GB"):
        load_verifier("aesthetic (LAION v2)")


@torch.no_grad()
def test_zero_shot_logits_are_those_of_averaged_templates(folder, original):
    network, transform, tokenizer = original
    templates, batch = ("a photo of a {}.", "art of a {}."), images(3, 40, 40)
    texts = torch.stack(
        [
            network.encode_text(tokenizer([t.replace("{}", name) for t in templates]), normalize=True).mean(0)
            for name in CLASSES
        ]
    )
    pictures = network.encode_image(torch.stack([transform(pil(image)) for image in batch]), normalize=True)
    logits = network.logit_scale.exp() * pictures @ torch.nn.functional.normalize(texts, dim=1).T
    judge = ZeroShotClassifier(load_tower(folder), CLASSES, "dog", templates)
    assert (judge.score(Batch(batch)) - logits[:, 2]).abs().max() < 1e-4 and not judge.needs_prompt
    judge = ZeroShotClassifier(load_tower(folder), CLASSES, "", templates, logit=False)
    assert (
        judge.score(Batch(batch, "my house cat")) - logits.log_softmax(1)[:, 1]
    ).abs().max() < 1e-4 and judge.needs_prompt
    assert torch.equal(judge.score(Batch(batch, "x", label=0)), judge.score(Batch(batch, "CAT")))


def test_the_class_is_read_from_the_prompt():
    assert [read_class(prompt, CLASSES) for prompt in ("a cat!", "a House Cat", "hotdog and a dog")] == [
        "cat",
        "house cat",
        "dog",
    ]
    for prompt in ("a bird", "a cat and a dog", "hotdogs"):
        with pytest.raises(ValueError, match="must name one of the classes"):
            read_class(prompt, CLASSES)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (((),), "list of different class names"),
        ((("a", "A"),), "different"),
        ((("a", "b"), "c"), "'c' is not among"),
        ((("a",), "", ("no slot",)), "needs a {}"),
    ],
)
def test_bad_classes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ZeroShotClassifier(None, *arguments)


@pytest.mark.parametrize(
    "name, architecture",
    [
        ("PickScore_v1.safetensors", "ViT-H-14"),
        ("HPS_v2.1_compressed.pt", "ViT-H-14"),
        ("clip-vit-large-patch14-336.safetensors", "ViT-L-14-336"),
    ],
)
def test_published_names_tell_the_architecture(name, architecture):
    assert by_file(name).architecture == architecture


class StockClipVision:
    """What ComfyUI's CLIP Vision looks like from outside."""

    def __init__(self):
        self.seen = []

    def encode_image(self, images):
        self.seen.append(len(images))
        return {"image_embeds": images.flatten(1)[:, :768] * 3}


def test_a_stock_clip_vision_is_run_once_in_chunks_that_fit(monkeypatch):
    class OutOfMemory(Exception):
        pass

    class Picky(StockClipVision):
        def encode_image(self, images):
            found = super().encode_image(images)
            if len(images) > 4:
                raise OutOfMemory
            return found

    monkeypatch.setattr(managed, "is_out_of_memory", lambda error: isinstance(error, OutOfMemory))
    stock, pictures = Picky(), images(10, 20, 20)
    features = ClipVisionFeatures(stock)
    first = features.image_features(pictures)
    assert torch.allclose(first, Features().image_features(pictures), atol=1e-6) and stock.seen == [
        10,
        5,
        3,
        3,
        3,
        1,
    ]
    assert features.image_features(pictures) is first and len(stock.seen) == 6
    stock.encode_image = lambda images: {"image_embeds": None}
    with pytest.raises(ValueError, match="gives no image embeddings"):
        features.image_features(pictures.clone())


def test_the_nodes_make_these_verifiers(tmp_path, monkeypatch):
    write_clip_folder(add_root(monkeypatch, files.CLIPS, tmp_path / "clips") / "tiny")
    write_head(
        add_root(monkeypatch, files.VERIFIERS, tmp_path / "verifiers") / "sac+logos+ava1-l14-linearMSE.pth"
    )
    (judge,) = class_verifiers.NoiseSearchZeroShotClassifier.execute(
        "cat\n dog \n\n", "", "log-probability", "tiny", "auto"
    ).result
    assert (judge.classes, judge.logit, len(judge.templates)) == (("cat", "dog"), False, 6)
    assert (judge.score(Batch(images(2), "a dog")) <= 0).all()
    (judge,) = verifiers.NoiseSearchAestheticFromClipVision.execute(StockClipVision(), "auto").result
    batch = Batch(images(20, 20, 20))
    expected = Aesthetic(Features(), tmp_path / "verifiers" / "sac+logos+ava1-l14-linearMSE.pth").score(batch)
    assert torch.allclose(judge.score(batch), expected, atol=1e-5)
