"""Where verifier files live: found by a name of ComfyUI's folder lists, named with their source when they are missing."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import folder_paths

from ..untrusted import listed

VERIFIERS, CLIPS = "verifiers", "clip_verifiers"  # folders under ComfyUI's models/
EXTENSIONS = {".safetensors", ".sft", ".pt", ".pth", ".bin"}
STATISTICS = {".npz"}  # listed too; read by verifiers/judges/frechet.py
CLIP_CONFIG = "open_clip_config.json"  # what makes a folder an open_clip model
AUTO = "auto"

_PACK_MODELS = Path(__file__).resolve().parent.parent / "models"
_READ_WHOLE = (
    64 * 2**20
)  # bytes; of larger files an identity says when they were written instead of what is in them


@dataclass(frozen=True)
class Published:
    """A file as its authors published it.

    name: what we call it; page: where it is, in words (the site and its page there); original: its name there, when that says nothing
    ("model.safetensors"). It is found under the name, and under the original name in a folder of that name or of its page's.
    """

    name: str
    size: str
    licence: str
    page: str
    original: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called in its folder list, the best first."""
        if not self.original:
            return (self.name,)
        folders = dict.fromkeys((Path(self.name).stem, self.page.split("/")[-1]))
        return (self.name, *(str(Path(folder, self.original)) for folder in folders))

    def __str__(self) -> str:
        return f"{self.name} ({self.size}, {self.licence}, {self.page})"


Wanted = tuple[
    str, str, tuple[Published, ...]
]  # (folder, name or "auto", what "auto" looks for in this order)


def register_folders() -> None:
    """Tell ComfyUI about models/verifiers and models/clip_verifiers, the user's and the pack's own."""
    for folder in (VERIFIERS, CLIPS):
        for root in (Path(folder_paths.models_dir), _PACK_MODELS, _PACK_MODELS / "demo"):
            folder_paths.add_model_folder_path(folder, str(root / folder))
        folder_paths.folder_names_and_paths[folder][1].update(EXTENSIONS | STATISTICS)


def file_names(folder: str) -> list[str]:
    """The names one can choose in a folder list, sorted; an open_clip folder counts as one name."""
    names = set()
    for name in folder_paths.get_filename_list(folder):
        parent = Path(name).parent.as_posix()
        names.add(parent if parent != "." and _clip_folder(folder, parent) else name)
    return sorted(names)


def find(folder: str, name: str) -> Path | None:
    """The path of a listed file or open_clip folder, None when it is not there."""
    if name not in file_names(folder):
        return None
    found = _clip_folder(folder, name)
    return found or Path(folder_paths.get_full_path_or_raise(folder, name))


def resolve(who: str, folder: str, file: str, published: tuple[Published, ...]) -> Path:
    """The path of a listed file, or with "auto" of the first published one that is there. FileNotFoundError says what belongs where."""
    path = _find(folder, file, published)
    if path is None:
        asked = "finds none of its usual files" if file == AUTO else f"cannot find {listed([file])}"
        other = next((other for other in (VERIFIERS, CLIPS) if other != folder and find(other, file)), None)
        elsewhere = f" (it is in models/{other}, whose files are for other verifiers)" if other else ""
        usual = "; ".join(map(str, published))
        put = f"Download one of these and put it there, under this name: {usual}. " if published else ""
        there = listed(file_names(folder)) or "nothing"
        raise FileNotFoundError(
            f"{who} {asked} in ComfyUI/models/{folder}{elsewhere}. {put}There now: {there}."
        )
    return path


def present(folder: str, published: tuple[Published, ...]) -> bool:
    """Whether one of the published files is there."""
    return _find(folder, AUTO, published) is not None


def _find(folder: str, file: str, published: tuple[Published, ...]) -> Path | None:
    wanted = [name for known in published for name in known.names] if file == AUTO else [file]
    return next((found for found in (find(folder, name) for name in wanted) if found), None)


def stamp(*wanted: Wanted) -> str:
    """What tells a cache that files have changed: for each its path and the time it was written, or that it is missing."""
    paths = [_find(*one) for one in wanted]
    return "; ".join(f"{path} {written(path)}" if path else "missing" for path in paths)


def written(path: Path) -> int:
    """When a file, or the newest in a folder, was written (ns)."""
    return max(file.stat().st_mtime_ns for file in _files_of(path))


def identity(path: Path) -> dict:
    """What tells a file, or a folder of files, from another, in JSON: name, size and a hash; of a large file when it was written."""
    if path.is_dir():
        return {"name": path.name, "files": [identity(file) for file in _files_of(path)]}
    state = path.stat()
    whole = state.st_size <= _READ_WHOLE
    mark = (
        {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()} if whole else {"written": state.st_mtime_ns}
    )
    return {"name": path.name, "bytes": state.st_size, **mark}


def _files_of(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def _clip_folder(folder: str, name: str) -> Path | None:
    """The open_clip folder of that name under one of the folder's roots, or None."""
    for root in folder_paths.get_folder_paths(folder):
        if (Path(root) / name / CLIP_CONFIG).is_file():
            return Path(root) / name
    return None


register_folders()
