"""Nodes that make verifiers: what a search is judged by."""
from dataclasses import replace

from comfy_api.latest import io

from ..compat import advanced, schema
from ..verifiers.aesthetic import Aesthetic
from ..verifiers.base import ImageVerifier, reference_images
from ..verifiers.catalogue import (
    AESTHETIC_HEAD,
    AUTO,
    FEATURES,
    SCORERS,
    all_files,
    architectures,
    clip_files,
    head_files,
    imagenet_networks,
    load_clip,
    load_features,
    load_imagenet,
    load_verifier,
    resolve,
)
from ..verifiers.clip_vision import ClipVisionFeatures
from ..verifiers.ensemble import METHODS, Ensemble
from ..verifiers.files import VERIFIERS
from ..verifiers.frechet import FrechetOracle, load_statistics, statistics_of
from ..verifiers.imagenet import ImageNetClassifier
from ..verifiers.reference import ReferenceSimilarity
from ..verifiers.sanity import Gated
from ..verifiers.self_supervised import SelfSupervised
from ..verifiers.text_match import TextMatch
from ..verifiers.zero_shot import TEMPLATES, ZeroShotClassifier
from .sockets import VerifierType

FeaturesType = io.Custom("NOISE_SEARCH_FEATURES")
StatisticsType = io.Custom("NOISE_SEARCH_STATISTICS")
MEMBERS = 8
_TEMPLATES = "\n".join(TEMPLATES)


def _device():
    tooltip = "auto: the GPU unless memory is short. cpu: leaves the GPU to the diffusion model; slower."
    return io.Combo.Input("device", options=["auto", "cpu"], default="auto", tooltip=tooltip)


def _architecture():
    tooltip = "For CLIP files: which CLIP it is. auto: read from the file's name, or from the folder's open_clip_config.json."
    return advanced(io.Combo.Input("architecture", options=architectures(), default=AUTO, optional=True, tooltip=tooltip))


class NoiseSearchLoadVerifier(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchLoadVerifier",
            display_name="Load Verifier",
            category="NoiseSearch/verifiers",
            description="A judge of images, for a search to look up to.",
            search_aliases=["scorer", "reward model", "aesthetic", "clip score"],
            inputs=[
                io.Combo.Input("scorer", options=list(SCORERS), tooltip="What kind of judge. The help page says what each sees and needs."),
                io.Combo.Input(
                    "file",
                    options=all_files(),
                    default="auto",
                    tooltip="Its weights, from models/verifiers or models/clip_verifiers. auto: the published file; if missing, it is named.",
                ),
                _device(),
                _architecture(),
                advanced(
                    io.Int.Input(
                        "frames",
                        optional=True,
                        default=ImageVerifier.frames,
                        min=1,
                        max=256,
                        tooltip="Videos: how many frames are judged, evenly spread over the clip.",
                    )
                ),
                advanced(
                    io.Combo.Input(
                        "over_frames",
                        optional=True,
                        options=["mean", "min"],
                        default="mean",
                        tooltip="Videos: the score is the mean over the frames, or the score of the worst frame.",
                    )
                ),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(cls, scorer, file, device, architecture="auto", frames=ImageVerifier.frames, over_frames="mean"):
        return io.NodeOutput(load_verifier(scorer, file, device, architecture, frames, over_frames))


def _weight(number):
    tooltip = f"How much verifier_{number} counts. 0: reported only."
    return io.Float.Input(f"weight_{number}", optional=True, default=1.0, min=0.0, max=100.0, step=0.05, tooltip=tooltip)


class NoiseSearchVerifierEnsemble(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        numbers = range(1, MEMBERS + 1)
        return schema(
            node_id="NoiseSearchVerifierEnsemble",
            display_name="Verifier Ensemble",
            category="NoiseSearch/verifiers",
            description="Several judges as one. Harder to fool than any of them alone.",
            search_aliases=["combine verifiers", "average rank"],
            inputs=[
                *(VerifierType.Input(f"verifier_{i}", optional=True, tooltip="A judge. Sockets may be left empty.") for i in numbers),
                VerifierType.Input(
                    "held_out",
                    optional=True,
                    tooltip="A judge that is reported and never chooses. If it falls while the score rises, the search is fooling the others.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default=METHODS[0],
                    tooltip="average rank: the paper's, any scale. z-score: keeps how much better. weighted sum: for judges on one scale.",
                ),
                io.Boolean.Input(
                    "sanity_gate",
                    default=True,
                    tooltip="Rank black, flat, blown-out and broken images last, whatever the judges say. Off for art that is meant so.",
                ),
                *(advanced(_weight(i)) for i in numbers),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(cls, method, sanity_gate, held_out=None, **inputs):
        connected = [i for i in range(1, MEMBERS + 1) if inputs.get(f"verifier_{i}") is not None]
        if not connected:
            raise ValueError("Verifier Ensemble has no verifier connected: connect at least one Load Verifier.")
        weights = tuple(inputs.get(f"weight_{i}", 1.0) for i in connected)
        ensemble = Ensemble(tuple(inputs[f"verifier_{i}"] for i in connected), weights, method, held_out)
        return io.NodeOutput(replace(ensemble, members=tuple(map(Gated, ensemble.members))) if sanity_gate else ensemble)


class NoiseSearchZeroShotClassifier(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchZeroShotClassifier",
            display_name="Zero-Shot Classifier",
            category="NoiseSearch/verifiers",
            description="A judge that asks a CLIP which of your classes an image shows.",
            search_aliases=["clip classifier", "class score"],
            inputs=[
                io.String.Input("classes", multiline=True, default="cat\ndog\nbird", tooltip="The class names, one a line."),
                io.String.Input("target", default="", tooltip="The class that is wanted. Empty: the one of the list that the prompt names."),
                io.Combo.Input(
                    "score",
                    options=["logit", "log-probability"],
                    default="logit",
                    tooltip="logit: how near the image is to the target, as in the paper. log-probability: nearer to it than to the other classes.",
                ),
                io.Combo.Input("file", options=clip_files(), default=AUTO, tooltip="The CLIP, from models/clip_verifiers. auto: the first usual one that is there."),
                _device(),
                advanced(
                    io.String.Input(
                        "templates",
                        multiline=True,
                        optional=True,
                        default=_TEMPLATES,
                        tooltip="Texts a class name is put into at {}, one a line.",
                    )
                ),
                _architecture(),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(cls, classes, target, score, file, device, templates=_TEMPLATES, architecture=AUTO):
        tower = load_clip("The zero-shot classifier", file, device, architecture)
        return io.NodeOutput(ZeroShotClassifier(tower, classes.splitlines(), target, templates.splitlines(), score == "logit"))


class NoiseSearchAestheticFromClipVision(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchAestheticFromClipVision",
            display_name="Aesthetic Score (CLIP Vision)",
            category="NoiseSearch/verifiers",
            description="LAION's aesthetic score on a stock CLIP Vision model: needs no package beyond ComfyUI.",
            search_aliases=["laion aesthetic"],
            inputs=[
                io.ClipVision.Input("clip_vision", tooltip="OpenAI's CLIP ViT-L/14 (clip-vit-large-patch14), from Load CLIP Vision."),
                io.Combo.Input("file", options=head_files(), default=AUTO, tooltip="The small file on top of it, from models/verifiers. auto: the published one."),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(cls, clip_vision, file):
        path = resolve("The aesthetic score", VERIFIERS, file, (AESTHETIC_HEAD,))
        return io.NodeOutput(Aesthetic(ClipVisionFeatures(clip_vision), path))


class NoiseSearchImageNetClassifier(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchImageNetClassifier",
            display_name="ImageNet Classifier",
            category="NoiseSearch/verifiers",
            description="A judge that knows the 1000 classes of ImageNet. Its probability is the paper's Inception Score oracle.",
            search_aliases=["class score", "efficientnet", "inception score"],
            inputs=[
                io.String.Input("target", default="", tooltip="The class that is wanted: one of its names, or 0 to 999. Empty: the one that the prompt names."),
                io.Combo.Input(
                    "score",
                    options=["log-probability", "logit"],
                    default="log-probability",
                    tooltip="log-probability: how sure the network is. logit: its evidence for the class alone.",
                ),
                _device(),
                io.Combo.Input(
                    "network",
                    options=imagenet_networks(),
                    default="EfficientNet-Lite0",
                    optional=True,
                    tooltip="EfficientNet-Lite0 comes as a package. The DINOv2 heads, as in the paper, need two files in models/verifiers; missing ones are named.",
                ),
            ],
            outputs=[VerifierType.Output(display_name="verifier"), FeaturesType.Output(display_name="features")],
        )

    @classmethod
    def execute(cls, target, score, device, network="EfficientNet-Lite0"):
        classifier = load_imagenet(network, device)
        return io.NodeOutput(ImageNetClassifier(classifier, target, score == "logit"), classifier)


class NoiseSearchLoadFeatures(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchLoadFeatures",
            display_name="Load Image Features",
            category="NoiseSearch/verifiers",
            description="A network that turns images into vectors, for judges that compare images with images.",
            search_aliases=["dino", "dinov2", "clip features"],
            inputs=[
                io.Combo.Input(
                    "network",
                    options=list(FEATURES),
                    tooltip="CLIP sees what is shown, DINO how it looks; a CLIP Vision model of ComfyUI can be connected instead.",
                ),
                io.Combo.Input("file", options=all_files(), default=AUTO, tooltip="Its weights. auto: the published file; if missing, it is named."),
                _device(),
                io.ClipVision.Input("clip_vision", optional=True, tooltip="When connected, its features are used, and the inputs above are not."),
                _architecture(),
            ],
            outputs=[FeaturesType.Output(display_name="features")],
        )

    @classmethod
    def execute(cls, network, file, device, clip_vision=None, architecture=AUTO):
        return io.NodeOutput(ClipVisionFeatures(clip_vision) if clip_vision is not None else load_features(network, file, device, architecture))


class NoiseSearchReferenceSimilarity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchReferenceSimilarity",
            display_name="Reference Similarity",
            category="NoiseSearch/verifiers",
            description="A judge of how alike an image is to your reference images.",
            search_aliases=["likeness", "image similarity"],
            inputs=[
                FeaturesType.Input("features", tooltip="The network that compares: Load Image Features."),
                io.Image.Input("reference", tooltip="What the images should look like. Several: the mean of the similarities counts."),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(cls, features, reference):
        return io.NodeOutput(ReferenceSimilarity(features, reference))


class NoiseSearchSelfSupervised(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchSelfSupervised",
            display_name="Self-Supervised Verifier",
            category="NoiseSearch/verifiers",
            description="A judge without a prompt: how much of an image was already decided early in its sampling.",
            search_aliases=["ssl", "dino ssl", "clip ssl", "consistency of the sample"],
            inputs=[FeaturesType.Input("features", tooltip="The network that compares the sample with its early prediction: Load Image Features.")],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(cls, features):
        return io.NodeOutput(SelfSupervised(features))


class NoiseSearchFeatureStatistics(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchFeatureStatistics",
            display_name="Feature Statistics",
            category="NoiseSearch/verifiers",
            description="How the features of many images are distributed: the reference of the FID oracle.",
            search_aliases=["fid statistics"],
            inputs=[
                FeaturesType.Input("features", tooltip="The network: Load Image Features."),
                io.Image.Input("images", tooltip="The reference images, as many as you can: several times the number of features."),
            ],
            outputs=[StatisticsType.Output(display_name="statistics")],
        )

    @classmethod
    def execute(cls, features, images):
        return io.NodeOutput(statistics_of(features.image_features(reference_images(images, "Feature Statistics"))))


class NoiseSearchLoadFeatureStatistics(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchLoadFeatureStatistics",
            display_name="Load Feature Statistics",
            category="NoiseSearch/verifiers",
            description="Feature statistics from a file, such as those published for FID.",
            search_aliases=["fid statistics"],
            inputs=[
                io.Combo.Input("file", options=head_files()[1:], tooltip="From models/verifiers: .npz with mu and sigma, or safetensors with mean and covariance."),
            ],
            outputs=[StatisticsType.Output(display_name="statistics")],
        )

    @classmethod
    def execute(cls, file):
        return io.NodeOutput(load_statistics(resolve("Load Feature Statistics", VERIFIERS, file, ())))


class NoiseSearchFidOracle(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchFidOracle",
            display_name="FID Oracle",
            category="NoiseSearch/verifiers",
            description="For experiments: picks the image that brings a growing set nearest to reference statistics.",
            search_aliases=["frechet distance"],
            inputs=[
                FeaturesType.Input("features", tooltip="The network the statistics were made with."),
                StatisticsType.Input("statistics", tooltip="The reference: Feature Statistics or Load Feature Statistics."),
                io.Image.Input("accepted", optional=True, tooltip="The images that are already in the set; a candidate is scored together with them."),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(cls, features, statistics, accepted=None):
        return io.NodeOutput(FrechetOracle(features, statistics, accepted))


class NoiseSearchTextMatch(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchTextMatch",
            display_name="Text Match (OCR)",
            category="NoiseSearch/verifiers",
            description="A judge that reads the image: is the text there, letter for letter?",
            search_aliases=["ocr", "text rendering", "typography"],
            inputs=[
                io.String.Input("text", default="", tooltip="The text that should be in the image. Empty: what stands in quotes in the prompt."),
                io.Boolean.Input("exact", default=False, tooltip="Whether upper and lower case and spaces count."),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(cls, text, exact):
        return io.NodeOutput(TextMatch(text, exact))


NODES = [
    NoiseSearchLoadVerifier,
    NoiseSearchVerifierEnsemble,
    NoiseSearchZeroShotClassifier,
    NoiseSearchAestheticFromClipVision,
    NoiseSearchImageNetClassifier,
    NoiseSearchLoadFeatures,
    NoiseSearchReferenceSimilarity,
    NoiseSearchSelfSupervised,
    NoiseSearchFeatureStatistics,
    NoiseSearchLoadFeatureStatistics,
    NoiseSearchFidOracle,
    NoiseSearchTextMatch,
]
