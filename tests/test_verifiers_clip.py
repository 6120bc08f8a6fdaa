"""CLIPScore against open_clip and Pillow used directly, and what surrounds it: files, truncation, videos, sharing, memory."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.pretrained import _PRETRAINED
from safetensors.torch import save_file
from verifier_helpers import TINY_CLIP, images, pil, tiny_clip, write_clip_folder

from noisesearch.verifiers.networks import clip_models, clip_tower, managed
from noisesearch.verifiers.base import Batch
from noisesearch.verifiers.judges.clip_score import ClipScore
from noisesearch.verifiers.networks.clip_tower import from_transformers, load_tower
from noisesearch.verifiers.judges.preference import HumanPreference

ROOT = Path(__file__).resolve().parent.parent
PROMPT = "a red circle left of a blue star"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    look = {"mean": [0.4, 0.5, 0.6], "std": [0.3, 0.2, 0.1], "resize_mode": "squash"}
    return write_clip_folder(tmp_path_factory.mktemp("clip") / "tiny", preprocess=look)


def reference(folder, batch, prompt):
    """Cosines by open_clip's own loader, transform and tokenizer, one image at a time."""
    network, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    network.train(False)
    text = network.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")([prompt]))[0]
    with torch.no_grad():
        return torch.stack(
            [
                torch.cosine_similarity(network.encode_image(transform(pil(image))[None])[0], text, dim=0)
                for image in batch
            ]
        )


def test_clip_score_equals_the_published_formula(folder):
    batch = images(6, 60, 50)
    cosine = reference(folder, batch, PROMPT)
    tower = load_tower(folder)
    assert (ClipScore(tower, raw=True).score(Batch(batch, PROMPT)) - cosine).abs().max() < 1e-5
    assert (ClipScore(tower).score(Batch(batch, PROMPT)) - 2.5 * cosine.clamp(min=0)).abs().max() < 1e-5
    assert cosine.std() > 1e-3  # else any constant would have passed


def test_a_batch_equals_its_images_one_by_one(folder):
    batch, verifier = images(20, 60, 50), ClipScore(load_tower(folder), raw=True)
    singles = torch.cat([verifier.score(Batch(image[None], PROMPT)) for image in batch])
    assert (verifier.score(Batch(batch, PROMPT)) - singles).abs().max() < 1e-5


def test_a_broken_image_scores_nan_and_leaves_the_others_alone(folder):
    batch, verifier = images(3), ClipScore(load_tower(folder))
    whole = verifier.score(Batch(batch, PROMPT))
    broken = batch.clone()
    broken[1, 0, 0, 0] = torch.nan
    scores = verifier.score(Batch(broken, PROMPT))
    assert scores.isnan().tolist() == [False, True, False]
    assert torch.allclose(scores[[0, 2]], whole[[0, 2]], atol=1e-5)
    assert verifier.score(Batch(torch.full_like(batch, torch.nan), PROMPT)).isnan().all()


@pytest.mark.parametrize("rule", ["mean", "min"])
def test_a_videos_score_is_made_of_its_frames(folder, rule):
    verifier = ClipScore(load_tower(folder), raw=True)
    verifier.frames, verifier.over_frames = 3, rule
    videos = images(14).view(2, 7, 48, 40, 3)
    frames = torch.stack([verifier.score(Batch(video[[0, 3, 6]], PROMPT)) for video in videos])
    expected = frames.mean(1) if rule == "mean" else frames.min(1).values
    assert torch.allclose(verifier.score(Batch(videos, PROMPT)), expected, atol=1e-5)


@pytest.mark.parametrize(
    "batch, message",
    [
        (Batch(images(1), " "), "which is empty"),
        (Batch(torch.zeros(2, 8, 8), PROMPT), r"shape \(2, 8, 8\)"),
        (Batch(torch.zeros(1, 8, 8, 4), PROMPT), r"\(1, 8, 8, 4\)"),
        (Batch(torch.zeros(0, 8, 8, 3), PROMPT), r"\(0, 8, 8, 3\)"),
        (Batch(torch.zeros(1, 1, 100_000, 3), PROMPT), "100000 x 1 pixels"),
    ],
)
def test_bad_input_is_named(folder, batch, message):
    with pytest.raises(ValueError, match=message):
        ClipScore(load_tower(folder)).score(batch)


def test_where_timm_cannot_build_without_memory_the_file_is_loaded_all_the_same(tmp_path, monkeypatch):
    """Before timm 1.0.22 its towers read numbers while they are built."""
    build = clip_tower._build

    def old(config):
        if torch.get_default_device().type == "meta":
            raise NotImplementedError("Cannot copy out of meta tensor")
        return build(config)

    monkeypatch.setattr(clip_tower, "_build", old)
    folder, batch = write_clip_folder(tmp_path / "other"), images(2)
    assert (
        ClipScore(load_tower(folder), raw=True).score(Batch(batch, PROMPT)) - reference(folder, batch, PROMPT)
    ).abs().max() < 1e-5


def test_text_that_is_cut_off_is_reported(folder):
    verifier = ClipScore(load_tower(folder))
    assert verifier.notes("a cat") == ()
    (note,) = verifier.notes("a cat " * 20)
    assert "16 of the prompt's 42 tokens" in note  # 40 words, a start and an end mark
    long = "many words " * 900
    assert "1802 tokens" in verifier.notes(long)[0]
    assert verifier.score(Batch(images(1), long)).isfinite().all()


def test_one_file_is_loaded_once_and_its_features_are_computed_once(folder, monkeypatch):
    tower = load_tower(folder)
    assert load_tower(folder) is tower
    runs = []
    run = managed.ManagedModel.run
    monkeypatch.setattr(
        managed.ManagedModel,
        "run",
        lambda self, function, rows, *more: runs.append(len(rows)) or run(self, function, rows, *more),
    )
    batch = Batch(images(4, seed=9), "a prompt of its own")
    ClipScore(tower).score(batch)
    ClipScore(tower, raw=True).score(batch)
    assert sorted(runs) == [1, 4]
    video = Batch(images(10, seed=8).view(2, 5, 48, 40, 3), "a prompt of its own")
    ClipScore(tower).score(video)
    ClipScore(tower, raw=True).score(video)
    assert sorted(runs) == [1, 4, 10]


def test_a_shared_tower_runs_once_also_when_an_image_is_broken(folder, monkeypatch):
    tower, runs = load_tower(folder), []
    run = managed.ManagedModel.run
    monkeypatch.setattr(
        managed.ManagedModel,
        "run",
        lambda self, function, rows, *more: runs.append(len(rows)) or run(self, function, rows, *more),
    )
    for pictures, shown in ((images(4, seed=3), 3), (images(6, seed=4).view(2, 3, 48, 40, 3), 5)):
        pictures.view(-1, 48, 40, 3)[1, 0, 0, 0] = torch.nan
        batch = Batch(pictures, "one prompt")
        for verifier in (
            ClipScore(tower),
            ClipScore(tower, raw=True),
            HumanPreference(tower),
            ClipScore(tower),
            HumanPreference(tower),
        ):
            verifier.score(batch)
        assert [rows for rows in runs if rows > 1] == [shown, shown]  # CLIP's look and HPS's
        runs.clear()


def test_running_out_of_memory_halves_the_chunk(folder, monkeypatch):
    class OutOfMemory(Exception):
        pass

    monkeypatch.setattr(managed, "is_out_of_memory", lambda error: isinstance(error, OutOfMemory))
    model, sizes = load_tower(folder).model, []

    def picky(network, rows):
        sizes.append(len(rows))
        if len(rows) > 3:
            raise OutOfMemory
        return rows * 2

    rows = torch.arange(21.0)[:, None]
    assert torch.equal(model.run(picky, rows), rows * 2)
    assert sizes[:4] == [16, 8, 4, 2]
    with pytest.raises(OutOfMemory):
        model.run(lambda network, rows: (_ for _ in ()).throw(OutOfMemory()), rows)


def test_the_table_of_clip_files_agrees_with_open_clip():
    """Every entry against the preprocessing that open_clip itself uses for these weights, when it downloads them."""
    checked = 0
    for known in clip_models.MODELS:
        settings = [
            entry
            for entry in _PRETRAINED[known.architecture].values()
            if _published_as(entry.get("hf_hub") or "", known.name)
        ]
        for entry in settings:
            assert (known.mean, known.std, known.interpolation) == (
                tuple(entry["mean"]),
                tuple(entry["std"]),
                entry["interpolation"],
            ), known.name
            assert known.quick_gelu == entry.get("quick_gelu", False), known.name
            assert known.fit == {"shortest": "crop", "squash": "squash"}[entry["resize_mode"]], known.name
            checked += 1
    assert checked >= len(clip_models.MODELS)


def test_no_published_name_is_taken_for_another_model():
    """Every repository that open_clip knows, as a file's name: recognised as what it is, or not at all."""
    recognised = set()
    for architecture, tags in _PRETRAINED.items():
        for entry in tags.values():
            repository = (entry.get("hf_hub") or "/").split("/")[1]
            try:
                known = clip_models.by_file(f"{repository}.safetensors")
            except ValueError:
                continue
            assert known.architecture == architecture.removesuffix("-quickgelu"), repository
            assert known.quick_gelu == entry.get("quick_gelu", False), repository
            assert (known.mean, known.std, known.interpolation) == (
                tuple(entry["mean"]),
                tuple(entry["std"]),
                entry["interpolation"],
            ), repository
            recognised.add(known.name)
    assert recognised == {known.name for known in clip_models.MODELS}


def _published_as(page, name):
    repository = page.split("/")[1] if "/" in page else ""
    if name.endswith("-openai"):
        _, size, patch, *resolution = name.removesuffix("-openai").split("-")
        word, pixels = {"B": "base", "L": "large"}[size], (resolution or ["224"])[0]
        return repository == f"vit_{word}_patch{patch}_clip_{pixels}.openai"
    return repository.removesuffix("-OpenCLIP").lower() == name.lower()


def test_a_single_file_is_recognised_by_its_name(tmp_path, monkeypatch):
    known = clip_models.ClipModel(
        "tiny-test", "Tiny-Test", quick_gelu=True, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), fit="squash"
    )
    monkeypatch.setattr(clip_models, "MODELS", (known,))
    monkeypatch.setattr(
        open_clip, "get_model_config", lambda name: {**TINY_CLIP, "vision_cfg": dict(TINY_CLIP["vision_cfg"])}
    )
    save_file(tiny_clip().state_dict(), tmp_path / "My Tiny_Test.safetensors")
    look = {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    folder = write_clip_folder(tmp_path / "same", model_changes={"quick_gelu": True}, preprocess=look)
    batch = images(3)
    scores = ClipScore(load_tower(tmp_path / "My Tiny_Test.safetensors"), raw=True).score(
        Batch(batch, PROMPT)
    )
    assert (scores - reference(folder, batch, PROMPT)).abs().max() < 1e-5
    save_file(tiny_clip().state_dict(), tmp_path / "mystery.safetensors")
    with pytest.raises(ValueError, match="says nothing about its architecture"):
        load_tower(tmp_path / "mystery.safetensors")
    assert load_tower(tmp_path / "mystery.safetensors", "tiny-test").context == 16


def test_weights_in_transformers_layout_give_the_same_features(tmp_path):
    from transformers import CLIPConfig, CLIPModel

    tiny = {
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_act": "gelu",
        "projection_dim": 16,
    }
    text = {
        **tiny,
        "hidden_size": 16,
        "intermediate_size": 64,
        "vocab_size": 49408,
        "max_position_embeddings": 16,
    }
    model = CLIPModel(
        CLIPConfig(
            text_config=text, vision_config={**tiny, "image_size": 32, "patch_size": 8}, projection_dim=16
        )
    ).train(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    network = tiny_clip()
    network.load_state_dict(from_transformers(model.state_dict()))
    pixels, tokens = (
        torch.randn(2, 3, 32, 32),
        open_clip.get_tokenizer("ViT-B-32")([PROMPT], context_length=16),
    )
    with torch.no_grad():
        theirs = model(input_ids=tokens, pixel_values=pixels)
        assert (network.encode_image(pixels, normalize=True) - theirs.image_embeds).abs().max() < 1e-5
        assert (network.encode_text(tokens, normalize=True) - theirs.text_embeds).abs().max() < 1e-5


def test_a_missing_package_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    monkeypatch.setattr(clip_tower, "_LOADED", {})
    with pytest.raises(ImportError, match="pip install open_clip_torch"):
        load_tower(folder)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"text_cfg": {**TINY_CLIP["text_cfg"], "hf_model_name": "roberta-base"}},
            "would have to be downloaded",
        ),
        (
            {"vision_cfg": {**TINY_CLIP["vision_cfg"], "timm_model_name": "hf-hub:someone/thing"}},
            "would have to be downloaded",
        ),
        ({"vision_cfg": {**TINY_CLIP["vision_cfg"], "width": 64}}, "does not hold the weights of"),
    ],
)
def test_a_folder_that_asks_for_more_is_refused(tmp_path, change, message):
    folder = write_clip_folder(tmp_path / "odd")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"].update(change)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        load_tower(folder)


def write_tokenizer(folder):
    """transformers' fast tokenizer files of a language of ten words; how many tokens it has."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {
        word: index
        for index, word in enumerate(
            ["[PAD]", "[UNK]", "[START]", "[END]", *"a red blue circle star left of".split()]
        )
    }
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [("[START]", words["[START]"]), ("[END]", words["[END]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[START] $A [END]", special_tokens=marks)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", eos_token="[END]"
    ).save_pretrained(folder)
    return len(words)


def test_a_folder_with_a_tokenizer_of_its_own(tmp_path):
    """As SigLIP's and the demo's CLIP have: tokenizer files in the folder, named by hf_tokenizer_name."""
    text = {
        **TINY_CLIP["text_cfg"],
        "vocab_size": write_tokenizer(tmp_path),
        "hf_tokenizer_name": "its own folder",
    }
    folder = write_clip_folder(tmp_path / "own", model_changes={"text_cfg": text})
    write_tokenizer(folder)
    batch, verifier = images(3), ClipScore(load_tower(folder), raw=True)
    assert (verifier.score(Batch(batch, PROMPT)) - reference(folder, batch, PROMPT)).abs().max() < 1e-5
    assert (
        verifier.score(Batch(batch, PROMPT))
        - verifier.score(Batch(batch, "a blue star left of a red circle"))
    ).abs().max() > 1e-4
    assert (
        verifier.notes("a red circle") == ()
        and "of the prompt's 42 tokens" in verifier.notes("red star " * 20)[0]
    )


@pytest.mark.parametrize(
    "architecture, small, look",
    [
        (
            "ViT-B-16-SigLIP2",
            {"timm_model_name": "vit_tiny_patch16_224"},
            {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"},
        ),
        (
            "PE-Core-B-16",
            {"timm_model_name": "vit_pe_core_tiny_patch16_384", "image_size": 384},
            {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"},
        ),
        ("MobileCLIP2-S0", {}, {"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear"}),
    ],
)
def test_newer_families_score_as_open_clip_scores_them(architecture, small, look, tmp_path):
    """open_clip's own config of each, with fewer and narrower layers and random weights, in a folder as they are published."""
    config = open_clip.get_model_config(architecture)
    config["vision_cfg"].update(small)
    config["text_cfg"].update({"width": 32, "heads": 2, "layers": 2})
    config["embed_dim"] = 192 if config["vision_cfg"].get("timm_proj") == "none" else 32
    folder = tmp_path / architecture
    folder.mkdir()
    if "hf_tokenizer_name" in config["text_cfg"]:
        config["text_cfg"]["vocab_size"] = write_tokenizer(folder)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": look}))
    torch.manual_seed(0)
    network = open_clip.CustomTextCLIP(
        **{name: value for name, value in config.items() if name != "custom_text"}
    ).train(False)
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):  # starts at almost nothing, as if the layers were not there
            torch.nn.init.ones_(parameter)
    save_file(
        {name: value.contiguous().clone() for name, value in network.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    batch = images(3, 90, 70) * torch.tensor([1.0, 0.5, 0.1]).view(3, 1, 1, 1)
    for prompt in (PROMPT, "A RED, red star?!"):
        expected = reference(folder, batch, prompt)
        assert (
            ClipScore(load_tower(folder), raw=True).score(Batch(batch, prompt)) - expected
        ).abs().max() < 1e-5
        assert expected.std() > 1e-4


def test_tokenizer_code_in_a_folder_does_not_run(tmp_path):
    """transformers would import a tokenizer class from the folder if it were told to trust it; the folder asks for just that."""
    folder = write_clip_folder(tmp_path / "hostile")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"].update(
        {"hf_tokenizer_name": "anything", "tokenizer_kwargs": {"trust_remote_code": True}}
    )
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "Bad", "auto_map": {"AutoTokenizer": ["tok.Bad", "tok.Bad"]}})
    )
    (folder / "tok.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').write('x')\nclass Bad: pass\n")
    with pytest.raises((ValueError, OSError)):
        load_tower(folder)
    assert not (tmp_path / "ran").exists()


OPTIONAL = {"open_clip", "timm", "transformers", "rapidocr", "onnxruntime", "torchvision"}


def test_importing_the_room_imports_no_optional_package(comfyui):
    for file in (ROOT / "verifiers").glob("*.py"):
        for statement in ast.parse(file.read_text(encoding="utf-8")).body:
            names = (
                [alias.name for alias in statement.names]
                if isinstance(statement, ast.Import)
                else [getattr(statement, "module", None) or ""]
            )
            assert not {name.split(".")[0] for name in names} & OPTIONAL, (
                f"{file.name} imports {names} at its top"
            )
    script = (
        f"import sys; sys.path.insert(0, 'tools'); from pack import use_comfyui; use_comfyui({str(comfyui)!r})\n"
        "import importlib, pathlib, comfy.sd\n"  # ComfyUI itself imports transformers
        "before = set(sys.modules)\n"
        "import noisesearch.nodes\n"
        "for file in pathlib.Path('verifiers').glob('*.py'): importlib.import_module(f'noisesearch.verifiers.{file.stem}')\n"
        "print('new:', *sorted({name.split('.')[0] for name in set(sys.modules) - before}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    new = done.stdout.strip().splitlines()[-1].split()
    assert new[0] == "new:" and "noisesearch" in new
    assert not OPTIONAL & set(new)
