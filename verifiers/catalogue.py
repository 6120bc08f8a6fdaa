"""The scorers of the Load Verifier node: which file each one reads, where it comes from, and how it becomes a verifier."""

from collections.abc import Callable
from dataclasses import dataclass

from ..untrusted import choice
from .networks import clip_models
from .judges.aesthetic import Aesthetic
from .base import OVER_FRAMES, ImageVerifier
from .judges.clip_score import ClipScore
from .networks.clip_tower import load_tower
from .networks.dino_head import DinoLinearHead
from .networks.features import DinoFeatures
from .files import CLIPS, VERIFIERS, file_names
from .judges.image_quality import ImageQuality
from .judges.image_reward import ImageReward
from .judges.image_reward_package import PackagedImageReward
from .judges.imagenet import EfficientNetLite0
from .networks.inception import FidInception, InceptionClassifier
from .judges.preference import HumanPreference, PickScore
from .published import AUTO, Published, resolve, stamp


@dataclass(frozen=True)
class Scorer:
    """One kind of verifier or feature network. load(path, device, architecture) makes it; files: what "auto" looks for, in this order; also: CLIPs it needs besides."""

    folder: str
    files: tuple[Published, ...]
    load: Callable
    also: tuple[Published, ...] = ()


def load_verifier(
    scorer,
    file=AUTO,
    device=AUTO,
    architecture=AUTO,
    frames=ImageVerifier.frames,
    over_frames=ImageVerifier.over_frames,
):
    """The verifier of a scorer's name. file: a name of its folder list, or "auto" for the file it was published with.

    FileNotFoundError says which file belongs where.
    """
    entry = SCORERS[choice(scorer, SCORERS, "scorer")]
    return over_frames_of(
        entry.load(resolve(scorer, entry.folder, file, entry.files), device, architecture),
        frames,
        over_frames,
    )


def over_frames_of(verifier, frames, rule):
    """The ImageVerifier, judging videos by so many frames and this rule."""
    if frames < 1:
        raise ValueError(f"A video is judged by at least 1 frame, not {frames}.")
    verifier.frames, verifier.over_frames = frames, choice(rule, OVER_FRAMES, "way to judge a video")
    return verifier


def load_clip(who, file=AUTO, device=AUTO, architecture=AUTO, files=None):
    """The shared CLIP tower of a name in models/clip_verifiers. who: the verifier that needs it, for the error; files: what "auto" looks for."""
    return load_tower(resolve(who, CLIPS, file, files or CLIP_FILES), architecture, device)


def load_features(network, file=AUTO, device=AUTO, architecture=AUTO):
    """The feature network of a name in FEATURES, as `load_verifier`."""
    entry = FEATURES[choice(network, FEATURES, "feature network")]
    path = resolve(network, entry.folder, file, entry.files) if entry.files else None
    return entry.load(path, device, architecture)


def all_files():
    """What the node's file list offers: "auto", then every name of both folders."""
    return [AUTO, *sorted({*file_names(VERIFIERS), *file_names(CLIPS)})]


def clip_files():
    """The files a node can choose among that needs a CLIP."""
    return [AUTO, *file_names(CLIPS)]


def head_files():
    """The files a node can choose among that needs one of models/verifiers."""
    return [AUTO, *file_names(VERIFIERS)]


def architectures():
    """What the node's architecture list offers."""
    return [AUTO, *(model.name for model in clip_models.MODELS)]


def stamp_of(entry, file):
    """The stamp of a Scorer's files."""
    return stamp(
        (entry.folder, file, entry.files), *((CLIPS, AUTO, files) for files in (entry.also,) if files)
    )


def _open_clip(name, size, page):
    return Published(
        f"{name}.safetensors", size, "MIT", f"Hugging Face: open_clip_model.safetensors of {page}"
    )


OPENAI_L14 = (
    _open_clip("ViT-L-14-openai", "1.7 GB", "timm/vit_large_patch14_clip_224.openai"),
    Published(
        "clip-vit-large-patch14.safetensors",
        "1.7 GB",
        "MIT",
        "Hugging Face: model.safetensors of openai/clip-vit-large-patch14",
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
PICK_SCORE = Published(
    "PickScore_v1.safetensors",
    "3.9 GB",
    "licence not stated",
    "Hugging Face: model.safetensors of yuvalkirstain/PickScore_v1",
)
HPS = Published("HPS_v2.1_compressed.pt", "2.0 GB", "Apache-2.0", "Hugging Face: xswu/HPSv2")
BRISQUE = Published("brisque.safetensors", "0.2 MB", "Apache-2.0", "comes with this pack")
DINO = (
    Published(
        "vit_base_patch14_dinov2.lvd142m.safetensors",
        "0.3 GB",
        "Apache-2.0",
        "Hugging Face: model.safetensors of timm/vit_base_patch14_dinov2.lvd142m",
    ),
    Published(
        "vit_small_patch14_dinov2.lvd142m.safetensors",
        "0.1 GB",
        "Apache-2.0",
        "Hugging Face: model.safetensors of timm/vit_small_patch14_dinov2.lvd142m",
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
)

SCORERS = {
    "ImageReward": Scorer(
        VERIFIERS, (IMAGE_REWARD,), lambda path, device, architecture: ImageReward(path, device)
    ),
    "CLIPScore": Scorer(
        CLIPS,
        CLIP_FILES,
        lambda path, device, architecture: ClipScore(load_tower(path, architecture, device)),
    ),
    "CLIP cosine": Scorer(
        CLIPS,
        CLIP_FILES,
        lambda path, device, architecture: ClipScore(load_tower(path, architecture, device), raw=True),
    ),
    "PickScore": Scorer(
        CLIPS,
        (PICK_SCORE,),
        lambda path, device, architecture: PickScore(load_tower(path, architecture, device)),
    ),
    "HPSv2.1": Scorer(
        CLIPS,
        (HPS,),
        lambda path, device, architecture: HumanPreference(load_tower(path, architecture, device)),
    ),
    "aesthetic (LAION v2)": Scorer(
        VERIFIERS,
        (AESTHETIC_HEAD,),
        lambda path, device, architecture: Aesthetic(
            load_clip("The aesthetic score", AUTO, device, files=OPENAI_L14), path
        ),
        OPENAI_L14,
    ),
    "image quality (BRISQUE)": Scorer(
        VERIFIERS, (BRISQUE,), lambda path, device, architecture: ImageQuality(path)
    ),
    "ImageReward (package)": Scorer(
        VERIFIERS, (IMAGE_REWARD,), lambda path, device, architecture: PackagedImageReward(path, device)
    ),
}

FEATURES = {
    "CLIP": Scorer(
        CLIPS, CLIP_FILES, lambda path, device, architecture: load_tower(path, architecture, device)
    ),
    "DINO": Scorer(VERIFIERS, DINO, lambda path, device, architecture: DinoFeatures(path, device)),
    "Inception (FID)": Scorer(
        VERIFIERS, (FID_INCEPTION,), lambda path, device, architecture: FidInception(path, device)
    ),
    "EfficientNet-Lite0": Scorer(VERIFIERS, (), lambda path, device, architecture: EfficientNetLite0(device)),
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


def imagenet_networks():
    """What the ImageNet Classifier can run."""
    return ["EfficientNet-Lite0", *DINO_HEADS, INCEPTION_CLASSIFIER]


def load_imagenet(name, device=AUTO, file=AUTO, head=AUTO):
    """The network of that name, with `logits` and `image_features`. file and head: names of models/verifiers in place of the published ones."""
    wanted = _imagenet_files(choice(name, imagenet_networks(), "ImageNet network"), file, head)
    if any(given != AUTO for given in (file, head)[len(wanted) :]):
        raise ValueError(
            f"{name} takes {'one file and no head; set head' if wanted else 'no file; set file and head'} to auto, or choose another network."
        )
    paths = [resolve(name, *one) for one in wanted]
    if not paths:
        return EfficientNetLite0(device)
    return DinoLinearHead(*paths, device) if len(paths) > 1 else InceptionClassifier(*paths, device)


def imagenet_stamp(name, file=AUTO, head=AUTO):
    return stamp(*_imagenet_files(name, file, head))


def _imagenet_files(name, file, head):
    """(folder, file, published) of each file that the network of this name is made of."""
    published = (INCEPTION,) if name == INCEPTION_CLASSIFIER else DINO_HEADS.get(name, ())
    return [(VERIFIERS, chosen, (known,)) for chosen, known in zip((file, head), published)]
