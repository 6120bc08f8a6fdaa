"""Verifier files: what is listed, what is refused and what is missing."""

import os

import folder_paths
import pytest
import torch
from safetensors.torch import save_file
from verifier_helpers import add_root, write_clip_folder

from noisesearch.nodes import class_verifiers, feature_verifiers
from noisesearch.nodes import verifiers as nodes
from noisesearch.verifiers import files
from noisesearch.verifiers.catalogue import SCORERS, all_files, load_verifier
from noisesearch.verifiers.networks.clip_models import by_file
from noisesearch.verifiers.networks.weights import load_weights


def test_broken_and_foreign_files_are_refused(tmp_path):
    save_file({"weight": torch.zeros(100)}, tmp_path / "whole.safetensors")
    (tmp_path / "short.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-50])
    (tmp_path / "noise.safetensors").write_bytes(os.urandom(64))
    (tmp_path / "code.py").write_text("raise SystemExit")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"step": 3}, tmp_path / "number.pt")
    for name, message in {
        "short.safetensors": "not a whole safetensors file",
        "noise.safetensors": "not a whole safetensors file",
        "code.py": "not a weights file",
        "list.pt": "no table of named tensors",
        "number.pt": "no table of named tensors",
    }.items():
        with pytest.raises(ValueError, match=message):
            load_weights(tmp_path / name)
    assert load_weights(tmp_path / "whole.safetensors")["weight"].shape == (100,)
    torch.save({"state_dict": {"weight": torch.ones(3)}}, tmp_path / "wrapped.pt")
    assert load_weights(tmp_path / "wrapped.pt")["weight"].tolist() == [1, 1, 1]


def test_lists_show_files_and_open_clip_folders_as_one_name_each(tmp_path, monkeypatch):
    root = add_root(monkeypatch, files.CLIPS, tmp_path / "clips")
    write_clip_folder(root / "tiny")
    save_file({"weight": torch.zeros(1)}, root / "single.safetensors")
    (root / "notes.txt").write_text("not a model")
    names = files.file_names(files.CLIPS)
    assert "tiny" in names and "single.safetensors" in names
    assert not any("notes" in name or "open_clip_model" in name for name in names)
    assert files.find(files.CLIPS, "tiny") == root / "tiny"
    assert files.find(files.CLIPS, "single.safetensors") == root / "single.safetensors"
    assert {"auto", "tiny", "single.safetensors"} <= set(all_files())
    for outside in ("../clips/single.safetensors", str(root / "single.safetensors"), "..", "."):
        assert files.find(files.CLIPS, outside) is None


def test_the_users_folders_and_the_packs_own_are_registered():
    for folder in (files.VERIFIERS, files.CLIPS):
        paths = folder_paths.get_folder_paths(folder)
        assert os.path.join(folder_paths.models_dir, folder) in paths
        assert any(path.endswith(os.path.join("models", "demo", folder)) for path in paths)


@pytest.mark.parametrize(
    "scorer",
    [
        name
        for name, entry in SCORERS.items()
        if entry.files and "comes with this pack" not in str(entry.files[0])
    ],
)
def test_a_missing_file_is_named_with_size_licence_page_and_folder(scorer, tmp_path, monkeypatch):
    folder = SCORERS[scorer].folder
    monkeypatch.setitem(folder_paths.folder_names_and_paths, folder, ([str(tmp_path)], files.EXTENSIONS))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    wanted = SCORERS[scorer].files[0]
    for file, asked in (
        ("auto", "none of its usual files"),
        ("other.safetensors", "cannot find other.safetensors"),
    ):
        with pytest.raises(FileNotFoundError) as error:
            load_verifier(scorer, file)
        for part in (
            asked,
            wanted.name,
            wanted.size,
            wanted.licence,
            wanted.page,
            f"models/{folder}",
            "There now: nothing",
        ):
            assert part in str(error.value)


def test_the_load_node_gives_a_scorer_with_its_settings(tmp_path, monkeypatch):
    write_clip_folder(add_root(monkeypatch, files.CLIPS, tmp_path) / "tiny")
    (verifier,) = nodes.NoiseSearchLoadVerifier.execute("CLIPScore", "tiny", "cpu", "auto", 5, "min").result
    assert (verifier.name, verifier.frames, verifier.over_frames) == ("CLIPScore", 5, "min")
    assert verifier.tower.model.patcher.load_device == torch.device("cpu")


@pytest.mark.parametrize(
    "given, message",
    [
        (dict(scorer="digit"), "no scorer 'digit'. There are: ImageReward"),
        (dict(device="gpu"), "no device 'gpu'. There are: auto, cpu"),
        (dict(architecture="ViT-X"), "no architecture 'ViT-X'"),
        (dict(over_frames="max"), "no way to judge a video 'max'. There are: mean, min"),
        (dict(frames=0), "at least 1 frame, not 0"),
    ],
)
def test_choices_that_do_not_exist_are_refused(given, message, tmp_path, monkeypatch):
    """The server of ComfyUI checks them from 0.8 on only."""
    save_file(
        {"weight": torch.zeros(1)},
        add_root(monkeypatch, files.CLIPS, tmp_path) / "ViT-B-32-openai.safetensors",
    )
    choices = {
        "scorer": "CLIPScore" if "architecture" in given else "digit classifier (demo)",
        "file": "auto",
        "device": "auto",
        **given,
    }
    with pytest.raises(ValueError, match=message):
        load_verifier(**choices)


def test_a_file_in_the_other_folder_is_told(tmp_path, monkeypatch):
    save_file({"weight": torch.zeros(1)}, add_root(monkeypatch, files.CLIPS, tmp_path) / "some.safetensors")
    with pytest.raises(
        FileNotFoundError,
        match="cannot find some.safetensors in ComfyUI/models/verifiers .it is in models/clip_verifiers",
    ):
        load_verifier("ImageReward", "some.safetensors")
    with pytest.raises(FileNotFoundError) as refused:
        files.resolve("Load Feature Statistics", files.VERIFIERS, "gone.npz", ())
    assert "under this name" not in str(refused.value)


def test_a_file_that_was_replaced_or_added_is_loaded_anew(tmp_path, monkeypatch):
    """What ComfyUI's cache asks each loader: the same as last time?"""
    verifier_root, clips = (
        add_root(monkeypatch, files.VERIFIERS, tmp_path / "verifiers"),
        add_root(monkeypatch, files.CLIPS, tmp_path / "clips"),
    )
    asks = {
        "ImageReward.pt": lambda: nodes.NoiseSearchLoadVerifier.fingerprint_inputs(
            scorer="ImageReward", file="auto", device="auto"
        ),
        "sac+logos+ava1-l14-linearMSE.pth": lambda: (
            nodes.NoiseSearchAestheticFromClipVision.fingerprint_inputs(clip_vision=None, file="auto")
        ),
        "mine.npz": lambda: feature_verifiers.NoiseSearchLoadFeatureStatistics.fingerprint_inputs(
            file="mine.npz"
        ),
        "vit_base_patch14_dinov2.lvd142m.safetensors": lambda: (
            feature_verifiers.NoiseSearchLoadFeatures.fingerprint_inputs(network="DINO", file="auto")
        ),
        "dinov2_vitb14_linear_head.pth": lambda: (
            class_verifiers.NoiseSearchImageNetClassifier.fingerprint_inputs(network="DINOv2-B linear head")
        ),
        "ViT-L-14-openai.safetensors": lambda: nodes.NoiseSearchLoadVerifier.fingerprint_inputs(
            scorer="aesthetic (LAION v2)", file="auto"
        ),
        "CLIP-ViT-B-32-laion2B-s34B-b79K.safetensors": lambda: (
            class_verifiers.NoiseSearchZeroShotClassifier.fingerprint_inputs(file="auto")
        ),
    }
    for name, ask in asks.items():
        path = (clips if name.startswith(("ViT", "CLIP")) else verifier_root) / name
        answers = [ask()]
        for change in range(2):
            path.write_bytes(b"x")
            os.utime(path, ns=(change, change))
            monkeypatch.setattr(folder_paths, "filename_list_cache", {})
            answers += [ask(), ask()]
        assert len(set(answers)) == 3 and answers[1] == answers[2], name
    assert (
        nodes.NoiseSearchLoadVerifier.fingerprint_inputs(scorer=None) == ""
    )  # linked inputs are not known yet


def test_networks_without_a_file_take_none():
    with pytest.raises(ValueError, match="EfficientNet-Lite0 takes no file; set file and head to auto"):
        class_verifiers.NoiseSearchImageNetClassifier.execute(
            "cat", "logit", "cpu", "EfficientNet-Lite0", "digits_judge.safetensors"
        )
    with pytest.raises(ValueError, match="Inception v3 takes one file and no head"):
        class_verifiers.NoiseSearchImageNetClassifier.execute(
            "cat", "logit", "cpu", "Inception v3", "auto", "digits_judge.safetensors"
        )
    with pytest.raises(ValueError, match="no network 'ResNet'"):
        class_verifiers.NoiseSearchImageNetClassifier.execute("cat", "logit", "cpu", "ResNet")


def test_a_file_is_found_under_its_published_name_in_a_folder_of_its_page(tmp_path, monkeypatch):
    """What a download brings, without renaming: only the folder says which one it is."""
    root = add_root(monkeypatch, files.CLIPS, tmp_path / "clips")
    known = files.Published(
        "Name.safetensors", "1 GB", "MIT", "Hugging Face: model.safetensors of some/page", "model.safetensors"
    )
    for folder in ("page", "Name"):
        (root / folder).mkdir()
        save_file({"weight": torch.zeros(1)}, root / folder / "model.safetensors")
        assert files.resolve("A judge", files.CLIPS, "auto", (known,)) == root / folder / "model.safetensors"
    save_file({"weight": torch.zeros(1)}, root / "Name.safetensors")
    assert files.resolve("A judge", files.CLIPS, "auto", (known,)) == root / "Name.safetensors"


def test_a_clip_is_known_by_its_file_or_else_by_its_folder():
    assert (
        by_file("clips/CLIP-ViT-H-14-laion2B-s32B-b79K/open_clip_model.safetensors").architecture
        == "ViT-H-14"
    )
    assert by_file("PickScore_v1/model.safetensors").architecture == "ViT-H-14"
    assert by_file("DFN5B-CLIP-ViT-H-14/ViT-B-32-openai.safetensors").name == "ViT-B-32-openai"
    with pytest.raises(ValueError, match="says nothing about its architecture.*the file or its folder"):
        by_file("clips/model.safetensors")


def test_load_image_judge_tells_the_page_which_judges_lack_their_file(tmp_path, monkeypatch):
    for folder in (files.VERIFIERS, files.CLIPS):
        monkeypatch.setitem(
            folder_paths.folder_names_and_paths, folder, ([str(tmp_path / folder)], files.EXTENSIONS)
        )
    (tmp_path / files.VERIFIERS).mkdir()
    save_file({"weight": torch.zeros(1)}, tmp_path / files.VERIFIERS / "brisque.safetensors")

    def told():
        return nodes.NoiseSearchLoadVerifier.INPUT_TYPES()["required"]["scorer"][1]["noise_search_missing"]

    lacking = told()
    assert lacking["ImageReward"] == "ImageReward.pt, 1.8 GB"
    assert (
        lacking["aesthetic (LAION v2)"]
        == "sac+logos+ava1-l14-linearMSE.pth, 3.7 MB and ViT-L-14-openai.safetensors, 1.7 GB"
    )
    assert "image quality (BRISQUE)" not in lacking
    torch.save({"weight": torch.zeros(1)}, tmp_path / files.VERIFIERS / "ImageReward.pt")
    assert "ImageReward" not in told()
