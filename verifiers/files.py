"""Where verifier files live, and how they are opened: names come from folder lists, and nothing in a file may run."""

from contextlib import contextmanager
from pathlib import Path

import folder_paths
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

VERIFIERS, CLIPS = "verifiers", "clip_verifiers"  # folders under ComfyUI's models/
EXTENSIONS = {".safetensors", ".sft", ".pt", ".pth", ".bin"}
STATISTICS = {".npz"}  # listed too; read by verifiers/judges/frechet.py
CLIP_CONFIG = "open_clip_config.json"  # what makes a folder an open_clip model

_PACK_MODELS = Path(__file__).resolve().parent.parent / "models"


class WrongFile(ValueError):
    """A file that is not what it was taken for."""


def register_folders():
    """Tell ComfyUI about models/verifiers and models/clip_verifiers, the user's and the pack's own."""
    for folder in (VERIFIERS, CLIPS):
        for root in (Path(folder_paths.models_dir), _PACK_MODELS, _PACK_MODELS / "demo"):
            folder_paths.add_model_folder_path(folder, str(root / folder))
        folder_paths.folder_names_and_paths[folder][1].update(EXTENSIONS | STATISTICS)


def file_names(folder):
    """The names one can choose in a folder list, sorted; an open_clip folder counts as one name."""
    names = set()
    for name in folder_paths.get_filename_list(folder):
        parent = Path(name).parent.as_posix()
        names.add(parent if parent != "." and _clip_folder(folder, parent) else name)
    return sorted(names)


def find(folder, name):
    """The path of a listed file or open_clip folder, None when it is not there."""
    if name not in file_names(folder):
        return None
    found = _clip_folder(folder, name)
    return found or Path(folder_paths.get_full_path_or_raise(folder, name))


def written(path):
    """When a file, or the newest in a folder, was written (ns)."""
    return max(file.stat().st_mtime_ns for file in (path.iterdir() if path.is_dir() else [path]))


def load_weights(path):
    """The state dict of a safetensors file, or of a torch file that holds tensors only (`weights_only=True`).

    WrongFile: another kind of file, a broken file, or one that would have to run code to be read.
    """
    path = Path(path)
    if path.suffix.lower() not in EXTENSIONS:
        raise WrongFile(f"{path.name} is not a weights file: allowed are {', '.join(sorted(EXTENSIONS))}.")
    try:
        state = (
            load_file(path)
            if path.suffix.lower() in (".safetensors", ".sft")
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except SafetensorError as error:
        raise WrongFile(
            f"{path.name} is not a whole safetensors file ({error}). Copy or download it again."
        ) from error
    except (MemoryError, OSError):  # not the file's fault
        raise
    except Exception as error:
        raise WrongFile(
            f"{path.name} was refused: it is broken, or it is a pickle that holds more than tensors and could run code. "
            f"Use a safetensors file instead. ({type(error).__name__})"  # torch's own words advise to trust the file
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(value, torch.Tensor) for value in state.values())
    ):
        raise WrongFile(
            f"{path.name} holds no table of named tensors, so it cannot be the weights of a verifier."
        )
    return state


def load_named(path, names, what):
    """The weights of a file that must hold these names; WrongFile says which are missing."""
    state = load_weights(path)
    missing = [name for name in names if name not in state]
    if missing:
        raise WrongFile(f"{Path(path).name} does not hold {what}: it lacks {', '.join(missing)}.")
    return state


@contextmanager
def taken_for(what, path):
    """Whatever fails inside, where the tensors of a file are used by name and shape, means that it holds something else: WrongFile."""
    try:
        yield
    except WrongFile:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WrongFile(
            f"{Path(path).name} does not hold {what}: {type(error).__name__}, {reason}"
        ) from error


def load_strict(network, state, path, what):
    """Fill the network; WrongFile names the file and what does not fit."""
    with taken_for(f"the weights of {what}", path):
        network.load_state_dict(state)
    return network


def _clip_folder(folder, name):
    """The open_clip folder of that name under one of the folder's roots, or None."""
    for root in folder_paths.get_folder_paths(folder):
        if (Path(root) / name / CLIP_CONFIG).is_file():
            return Path(root) / name
    return None


register_folders()
