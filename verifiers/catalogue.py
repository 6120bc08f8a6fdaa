"""The scorers of the Load Verifier node: which file each one reads, where it comes from, and how it becomes a verifier."""
from collections.abc import Callable
from dataclasses import dataclass

from . import clip_models
from .base import ImageVerifier
from .files import CLIPS, VERIFIERS, file_names, find

AUTO = "auto"


@dataclass(frozen=True)
class Published:
    """A file as its authors published it; page: where, in words."""

    name: str
    size: str
    licence: str
    page: str

    def __str__(self):
        return f"{self.name} ({self.size}, {self.licence}, {self.page})"


@dataclass(frozen=True)
class Scorer:
    """One kind of verifier. load(path, device, architecture) -> Verifier; files: what "auto" looks for, in this order."""

    folder: str
    files: tuple[Published, ...]
    load: Callable


def load_verifier(scorer, file=AUTO, device=AUTO, architecture=AUTO, frames=ImageVerifier.frames, over_frames=ImageVerifier.over_frames):
    """The verifier of a scorer's name. file: a name of its folder list, or "auto" for the file it was published with.

    FileNotFoundError says which file belongs where.
    """
    entry = SCORERS[scorer]
    verifier = entry.load(_path(scorer, entry, file), device, architecture)
    if isinstance(verifier, ImageVerifier):
        verifier.frames, verifier.over_frames = frames, over_frames
    return verifier


def all_files():
    """What the node's file list offers: "auto", then every name of both folders."""
    return [AUTO, *sorted({*file_names(VERIFIERS), *file_names(CLIPS)})]


def architectures():
    """What the node's architecture list offers."""
    return [AUTO, *(model.name for model in clip_models.MODELS)]


def _path(scorer, entry, file):
    wanted = [published.name for published in entry.files] if file == AUTO else [file]
    path = next((found for found in (find(entry.folder, name) for name in wanted) if found), None)
    if path is None:
        asked = "finds none of its usual files" if file == AUTO else f"cannot find {file}"
        there = ", ".join(file_names(entry.folder)) or "nothing"
        raise FileNotFoundError(
            f"{scorer} {asked} in ComfyUI/models/{entry.folder}. Put one of these there, under this name: "
            f"{'; '.join(map(str, entry.files))}. There now: {there}."
        )
    return path


def _clip_score(path, device, architecture):
    from .clip_score import ClipScore
    from .clip_tower import load_tower

    return ClipScore(load_tower(path, architecture, device))


def _clip_cosine(path, device, architecture):
    from .clip_score import ClipScore
    from .clip_tower import load_tower

    return ClipScore(load_tower(path, architecture, device), raw=True)


def _digits(path, device, architecture):
    from .digits import DigitClassifier

    return DigitClassifier(path)


def _scenes(path, device, architecture):
    from .attributes import SceneAttributes

    return SceneAttributes(path)


def _clip_file(name, size, page):
    return Published(f"{name}.safetensors", size, "MIT", f"open_clip_model.safetensors of {page}")


_CLIP_FILES = (
    _clip_file("CLIP-ViT-L-14-DataComp.XL-s13B-b90K", "1.7 GB", "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"),
    _clip_file("CLIP-ViT-H-14-laion2B-s32B-b79K", "3.9 GB", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
    _clip_file("CLIP-ViT-B-32-laion2B-s34B-b79K", "0.6 GB", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
    _clip_file("ViT-L-14-openai", "1.7 GB", "timm/vit_large_patch14_clip_224.openai"),
    _clip_file("ViT-B-32-openai", "0.6 GB", "timm/vit_base_patch32_clip_224.openai"),
)
def _image_quality(path, device, architecture):
    from .image_quality import ImageQuality

    return ImageQuality(path)


_PACKAGED = ("0.1 MB", "GPL-3.0-or-later", "comes with this pack")

SCORERS = {
    "CLIPScore": Scorer(CLIPS, _CLIP_FILES, _clip_score),
    "CLIP cosine": Scorer(CLIPS, _CLIP_FILES, _clip_cosine),
    "image quality (BRISQUE)": Scorer(
        VERIFIERS, (Published("brisque.safetensors", "0.2 MB", "Apache-2.0", "comes with this pack"),), _image_quality
    ),
    "digit classifier (demo)": Scorer(VERIFIERS, (Published("digits_classifier.safetensors", *_PACKAGED),), _digits),
    "scene attributes (demo)": Scorer(VERIFIERS, (Published("scenes_attributes.safetensors", *_PACKAGED),), _scenes),
}
