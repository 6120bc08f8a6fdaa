"""Nodes of verifiers that judge whether an image shows a class."""

from comfy_api.latest import io

from ..compat import advanced, schema
from ..untrusted import choice
from ..verifiers.base import ImageVerifier, over_frames_of
from ..verifiers.catalogue import (
    CLIP_FILES,
    clip_files,
    head_files,
    imagenet_networks,
    imagenet_stamp,
    load_clip,
    load_imagenet,
)
from ..verifiers.files import AUTO, CLIPS, stamp
from ..verifiers.judges.imagenet import ImageNetClassifier
from ..verifiers.judges.zero_shot import TEMPLATES, ZeroShotClassifier
from .names import JUDGES
from .sockets import VerifierType
from .verifier_inputs import FeaturesType, architecture_input, device_input, frames_inputs

_TEMPLATES = "\n".join(TEMPLATES)
_LOGIT, _PROBABILITY = SCORES = ("logit", "log-probability")


class NoiseSearchZeroShotClassifier(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchZeroShotClassifier",
            display_name="Shows This Class (CLIP, Image Judge)",
            category=JUDGES,
            description="A judge that asks a CLIP which of your classes an image shows.",
            search_aliases=["clip classifier", "class score", "Zero-Shot Classifier"],
            inputs=[
                io.String.Input(
                    "classes",
                    multiline=True,
                    default="cat\ndog\nbird",
                    tooltip="The class names, one a line.",
                ),
                io.String.Input(
                    "target",
                    default="",
                    tooltip="The class that is wanted. Empty: the one of the list that the prompt names.",
                ),
                io.Combo.Input(
                    "score",
                    options=[_LOGIT, _PROBABILITY],
                    default=_LOGIT,
                    tooltip="logit: how near the image is to the target, as in the paper. log-probability: nearer to it than to the other classes.",
                ),
                io.Combo.Input(
                    "file",
                    options=clip_files(),
                    default=AUTO,
                    tooltip="The CLIP, from models/clip_verifiers. auto: the first usual one that is there.",
                ),
                device_input(),
                advanced(
                    io.String.Input(
                        "templates",
                        multiline=True,
                        optional=True,
                        default=_TEMPLATES,
                        tooltip="Texts, one a line. The class name takes the place of the curly brackets.",
                    )
                ),
                architecture_input(),
                *frames_inputs(),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def fingerprint_inputs(cls, file=AUTO, **others):
        return stamp((CLIPS, file, CLIP_FILES))

    @classmethod
    def execute(
        cls,
        classes,
        target,
        score,
        file,
        device,
        templates=_TEMPLATES,
        architecture=AUTO,
        frames=ImageVerifier.frames,
        over_frames=ImageVerifier.over_frames,
    ):
        logit = choice(score, SCORES, "kind of score") == _LOGIT
        tower = load_clip("The zero-shot classifier", file, device, architecture)
        judge = ZeroShotClassifier(tower, classes.splitlines(), target, templates.splitlines(), logit)
        return io.NodeOutput(over_frames_of(judge, frames, over_frames))


class NoiseSearchImageNetClassifier(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchImageNetClassifier",
            display_name="Shows This Class (ImageNet, Image Judge)",
            category=JUDGES,
            description="A judge that knows the 1000 classes of ImageNet. Its probability is the paper's Inception Score oracle.",
            search_aliases=["class score", "efficientnet", "inception score", "ImageNet Classifier"],
            inputs=[
                io.String.Input(
                    "target",
                    default="",
                    tooltip="The class that is wanted: one of its names, or 0 to 999. Empty: the one that the prompt names.",
                ),
                io.Combo.Input(
                    "score",
                    options=[_PROBABILITY, _LOGIT],
                    default=_PROBABILITY,
                    tooltip="log-probability: how sure the network is. logit: its evidence for the class alone.",
                ),
                device_input(),
                io.Combo.Input(
                    "network",
                    options=imagenet_networks(),
                    default="EfficientNet-Lite0",
                    optional=True,
                    tooltip="EfficientNet-Lite0 comes as a package. Inception v3 is one file in models/verifiers, a DINO with a linear head two. Errors name what is missing.",
                ),
                advanced(
                    io.Combo.Input(
                        "file",
                        options=head_files(),
                        default=AUTO,
                        optional=True,
                        tooltip="The weights of Inception or DINO, from models/verifiers. auto: the published ones.",
                    )
                ),
                advanced(
                    io.Combo.Input(
                        "head",
                        options=head_files(),
                        default=AUTO,
                        optional=True,
                        tooltip="The linear head made for that DINO. auto: the published one.",
                    )
                ),
                *frames_inputs(),
            ],
            outputs=[
                VerifierType.Output(display_name="verifier"),
                FeaturesType.Output(display_name="features"),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, network="", file=AUTO, head=AUTO, **others):
        return imagenet_stamp(network, file, head)

    @classmethod
    def execute(
        cls,
        target,
        score,
        device,
        network="EfficientNet-Lite0",
        file=AUTO,
        head=AUTO,
        frames=ImageVerifier.frames,
        over_frames=ImageVerifier.over_frames,
    ):
        logit = choice(score, SCORES, "kind of score") == _LOGIT
        classifier = load_imagenet(network, device, file, head)
        judge = over_frames_of(ImageNetClassifier(classifier, target, logit), frames, over_frames)
        return io.NodeOutput(judge, classifier)


NODES = [NoiseSearchZeroShotClassifier, NoiseSearchImageNetClassifier]
