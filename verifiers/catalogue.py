"""The scorers of the Load Judge node: which file each one reads, where it comes from, and how it becomes a verifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..untrusted import choice
from .base import ImageVerifier, over_frames_of
from .files import AUTO, CLIPS, VERIFIERS, Published, Wanted, file_names, present, resolve, stamp
from .judges.aesthetic import Aesthetic
from .judges.clip_score import ClipScore
from .judges.cycle_reward import CycleReward
from .judges.image_quality import ImageQuality
from .judges.image_reward import ImageReward
from .judges.image_reward_package import PackagedImageReward
from .judges.preference import HumanPreference, PickScore
from .networks import clip_models
from .networks.clip_tower import ClipTower, load_tower
from .networks.dino_head import DinoLinearHead
from .networks.features import DinoFeatures, ImageFeatures
from .networks.imagenet import EfficientNetLite0
from .networks.inception import FidInception, InceptionClassifier


@dataclass(frozen=True)
class Setup:
    """What a verifier or a feature network is made with. path: its file, a Path; None for those without one."""

    path: Any
    device: str = AUTO
    architecture: str = AUTO

    def tower(self) -> ClipTower:
        """The CLIP in the file, shared with whoever uses it too."""
        return load_tower(self.path, self.architecture, self.device)


@dataclass(frozen=True)
class Scorer:
    """One kind of verifier or feature network. files: what "auto" looks for, in this order, none for those without a file; make: Setup -> it; also: CLIPs it needs besides."""

    folder: str
    files: tuple[Published, ...]
    make: Callable[[Setup], Any]
    also: tuple[Published, ...] = ()

    def load(self, who: str, file: str, device: str, architecture: str) -> Any:
        """FileNotFoundError says which file belongs where."""
        if file != AUTO and not self.files:
            raise ValueError(f"{who} takes no file; set file to {AUTO}.")
        path = resolve(who, self.folder, file, self.files) if self.files else None
        return self.make(Setup(path, device, architecture))

    def missing(self) -> str:
        """The published file that "auto" looks for and does not find, with its size; "" when all is there."""
        wanted = [(self.folder, self.files), (CLIPS, self.also)]
        lacking = [files[0] for folder, files in wanted if files and not present(folder, files)]
        return " and ".join(f"{file.name}, {file.size}" for file in lacking)

    def stamp(self, file: str) -> str:
        """What tells a cache that one of its files has changed."""
        clips = [(CLIPS, AUTO, self.also)] if self.also else []
        return stamp((self.folder, file, self.files), *clips)


def load_verifier(
    scorer: str,
    file: str = AUTO,
    device: str = AUTO,
    architecture: str = AUTO,
    frames: int = ImageVerifier.frames,
    over_frames: str = ImageVerifier.over_frames,
) -> ImageVerifier:
    """The verifier of a scorer's name. file: a name of its folder list, or "auto" for the file it was published with."""
    entry = SCORERS[choice(scorer, SCORERS, "scorer")]
    return over_frames_of(entry.load(scorer, file, device, architecture), frames, over_frames)


def load_features(
    network: str, file: str = AUTO, device: str = AUTO, architecture: str = AUTO
) -> ImageFeatures:
    """The feature network of a name in FEATURES, as `load_verifier`."""
    return FEATURES[choice(network, FEATURES, "feature network")].load(network, file, device, architecture)


def load_clip(
    who: str,
    file: str = AUTO,
    device: str = AUTO,
    architecture: str = AUTO,
    files: tuple[Published, ...] | None = None,
) -> ClipTower:
    """The shared CLIP tower of a name in models/clip_verifiers. who: the verifier that needs it, for the error; files: what "auto" looks for."""
    return load_tower(resolve(who, CLIPS, file, files or CLIP_FILES), architecture, device)


def missing_files() -> dict[str, str]:
    """{scorer: the file it lacks} of the scorers that cannot run before a download."""
    return {name: lacking for name, entry in SCORERS.items() if (lacking := entry.missing())}


def all_files() -> list[str]:
    """What the node's file list offers: "auto", then every name of both folders."""
    return [AUTO, *sorted({*file_names(VERIFIERS), *file_names(CLIPS)})]


def clip_files() -> list[str]:
    """The files a node can choose among that needs a CLIP."""
    return [AUTO, *file_names(CLIPS)]


def head_files() -> list[str]:
    """The files a node can choose among that needs one of models/verifiers."""
    return [AUTO, *file_names(VERIFIERS)]


def architectures() -> list[str]:
    """What the node's architecture list offers."""
    return [AUTO, *(model.name for model in clip_models.MODELS)]


def _open_clip(name: str, size: str, page: str) -> Published:
    return Published(
        f"{name}.safetensors",
        size,
        "MIT",
        f"Hugging Face: open_clip_model.safetensors of {page}",
        "open_clip_model.safetensors",
    )


OPENAI_L14 = (
    _open_clip("ViT-L-14-openai", "1.7 GB", "timm/vit_large_patch14_clip_224.openai"),
    Published(
        "clip-vit-large-patch14.safetensors",
        "1.7 GB",
        "MIT",
        "Hugging Face: model.safetensors of openai/clip-vit-large-patch14",
        "model.safetensors",
    ),
)
CLIP_FILES = (
    _open_clip("CLIP-ViT-L-14-DataComp.XL-s13B-b90K", "1.7 GB", "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"),
    _open_clip("CLIP-ViT-H-14-laion2B-s32B-b79K", "3.9 GB", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
    _open_clip("CLIP-ViT-B-32-laion2B-s34B-b79K", "0.6 GB", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
    *OPENAI_L14,
    _open_clip("ViT-B-32-openai", "0.6 GB", "timm/vit_base_patch32_clip_224.openai"),
)
AESTHETIC_HEAD = Published(
    "sac+logos+ava1-l14-linearMSE.pth",
    "3.7 MB",
    "Apache-2.0",
    "GitHub: christophschuhmann/improved-aesthetic-predictor",
)
IMAGE_REWARD = Published("ImageReward.pt", "1.8 GB", "Apache-2.0", "Hugging Face: zai-org/ImageReward")
CYCLE_REWARD = tuple(
    Published(f"CycleReward-{kind}.pth", "1.9 GB", "MIT", "GitHub: release v1.0.0 of hjbahng/cyclereward")
    for kind in ("Combo", "T2I")
)
PICK_SCORE = Published(
    "PickScore_v1.safetensors",
    "3.9 GB",
    "licence not stated",
    "Hugging Face: model.safetensors of yuvalkirstain/PickScore_v1",
    "model.safetensors",
)
HPS = Published("HPS_v2.1_compressed.pt", "2.0 GB", "Apache-2.0", "Hugging Face: xswu/HPSv2")
BRISQUE = Published("brisque.safetensors", "0.2 MB", "Apache-2.0", "comes with this pack")
DINO = (
    Published(
        "vit_base_patch14_dinov2.lvd142m.safetensors",
        "0.3 GB",
        "Apache-2.0",
        "Hugging Face: model.safetensors of timm/vit_base_patch14_dinov2.lvd142m",
        "model.safetensors",
    ),
    Published(
        "vit_small_patch14_dinov2.lvd142m.safetensors",
        "0.1 GB",
        "Apache-2.0",
        "Hugging Face: model.safetensors of timm/vit_small_patch14_dinov2.lvd142m",
        "model.safetensors",
    ),
)
FID_INCEPTION = Published(
    "pt_inception-2015-12-05-6726825d.pth",
    "96 MB",
    "Apache-2.0",
    "GitHub: release fid_weights of mseitzer/pytorch-fid",
)
INCEPTION = Published(
    "inception_v3.tf_in1k.safetensors",
    "95 MB",
    "Apache-2.0",
    "Hugging Face: model.safetensors of timm/inception_v3.tf_in1k",
    "model.safetensors",
)


def _aesthetic(setup: Setup) -> Aesthetic:
    clip = load_clip("The aesthetic score", AUTO, setup.device, files=OPENAI_L14)
    return Aesthetic(clip, setup.path)


SCORERS = {
    "ImageReward": Scorer(VERIFIERS, (IMAGE_REWARD,), lambda s: ImageReward(s.path, s.device)),
    "CLIPScore": Scorer(CLIPS, CLIP_FILES, lambda s: ClipScore(s.tower())),
    "CLIP cosine": Scorer(CLIPS, CLIP_FILES, lambda s: ClipScore(s.tower(), raw=True)),
    "PickScore": Scorer(CLIPS, (PICK_SCORE,), lambda s: PickScore(s.tower())),
    "HPSv2.1": Scorer(CLIPS, (HPS,), lambda s: HumanPreference(s.tower())),
    "aesthetic (LAION v2)": Scorer(VERIFIERS, (AESTHETIC_HEAD,), _aesthetic, OPENAI_L14),
    "image quality (BRISQUE)": Scorer(VERIFIERS, (BRISQUE,), lambda s: ImageQuality(s.path)),
    "CycleReward": Scorer(VERIFIERS, CYCLE_REWARD, lambda s: CycleReward(s.path, s.device)),
    "ImageReward (package)": Scorer(
        VERIFIERS, (IMAGE_REWARD,), lambda s: PackagedImageReward(s.path, s.device)
    ),
}

FEATURES = {
    "CLIP": Scorer(CLIPS, CLIP_FILES, Setup.tower),
    "DINO": Scorer(VERIFIERS, DINO, lambda s: DinoFeatures(s.path, s.device)),
    "Inception (FID)": Scorer(VERIFIERS, (FID_INCEPTION,), lambda s: FidInception(s.path, s.device)),
    "EfficientNet-Lite0": Scorer(VERIFIERS, (), lambda s: EfficientNetLite0(s.device)),
}


_HEADS = tuple(
    Published(
        f"dinov2_vit{size}14_linear_head.pth",
        megabytes,
        "Apache-2.0",
        "GitHub: facebookresearch/dinov2, its linear heads of one layer",
    )
    for size, megabytes in (("b", "6 MB"), ("s", "3 MB"))
)
DINO_HEADS = {
    "DINOv2-B linear head": (DINO[0], _HEADS[0]),
    "DINOv2-S linear head": (DINO[1], _HEADS[1]),
    "your DINO and linear head": (DINO[0], _HEADS[0]),  # of any DINOv2 or DINOv3, by the node's file and head
}
INCEPTION_CLASSIFIER = "Inception v3"


def imagenet_networks() -> list[str]:
    """What Shows This Class (ImageNet, Image Judge) can run."""
    return ["EfficientNet-Lite0", *DINO_HEADS, INCEPTION_CLASSIFIER]


def load_imagenet(name: str, device: str = AUTO, file: str = AUTO, head: str = AUTO) -> ImageFeatures:
    """The network of that name, with `logits` and `image_features`. file and head: names of models/verifiers in place of the published ones."""
    wanted = _imagenet_files(choice(name, imagenet_networks(), "ImageNet network"), file, head)
    if any(given != AUTO for given in (file, head)[len(wanted) :]):
        raise ValueError(
            f"{name} takes {'one file and no head; set head' if wanted else 'no file; set file and head'} to auto, or choose another network."
        )
    paths = [resolve(name, *one) for one in wanted]
    if not paths:
        return EfficientNetLite0(device)
    if len(paths) == 1:
        return InceptionClassifier(paths[0], device)
    return DinoLinearHead(paths[0], paths[1], device)


def imagenet_stamp(name: str, file: str = AUTO, head: str = AUTO) -> str:
    return stamp(*_imagenet_files(name, file, head))


def _imagenet_files(name: str, file: str, head: str) -> list[Wanted]:
    """(folder, file, published) of each file that the network of this name is made of."""
    published = (INCEPTION,) if name == INCEPTION_CLASSIFIER else DINO_HEADS.get(name, ())
    return [(VERIFIERS, chosen, (known,)) for chosen, known in zip((file, head), published)]
