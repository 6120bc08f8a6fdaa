"""Nodes of verifiers that compare images with images, by the features of some network."""

from comfy_api.latest import io

from ..compat import schema
from ..verifiers.base import ImageVerifier, over_frames_of, reference_images
from ..verifiers.catalogue import FEATURES, all_files, head_files, load_features
from ..verifiers.files import AUTO, VERIFIERS, resolve, stamp
from ..verifiers.judges.frechet import FrechetOracle, load_statistics, statistics_of
from ..verifiers.judges.reference import ReferenceSimilarity
from ..verifiers.judges.self_supervised import SelfSupervised
from ..verifiers.networks.clip_vision import ClipVisionFeatures
from .names import JUDGES, RESEARCH
from .sockets import VerifierType
from .verifier_inputs import FeaturesType, StatisticsType, architecture_input, device_input, frames_inputs


class NoiseSearchLoadFeatures(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchLoadFeatures",
            display_name="Load Image Features (CLIP, DINO)",
            category=JUDGES,
            description="Loads a network that turns images into vectors, for judges that compare images with images.",
            search_aliases=["dinov2", "clip features", "Load Image Features"],
            inputs=[
                io.Combo.Input(
                    "network",
                    options=list(FEATURES),
                    tooltip="CLIP sees what an image shows, DINO how it looks. You can connect a CLIP Vision model instead.",
                ),
                io.Combo.Input(
                    "file",
                    options=all_files(),
                    default=AUTO,
                    tooltip="Its weights. auto: the published file. If it is missing, the error says where to get it.",
                ),
                device_input(),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="When connected, its features are used and the inputs above are ignored.",
                ),
                architecture_input(),
            ],
            outputs=[FeaturesType.Output(display_name="features")],
        )

    @classmethod
    def fingerprint_inputs(cls, network=None, file=AUTO, **others):
        return FEATURES[network].stamp(file) if isinstance(network, str) and network in FEATURES else ""

    @classmethod
    def execute(cls, network, file, device, clip_vision=None, architecture=AUTO):
        return io.NodeOutput(
            ClipVisionFeatures(clip_vision)
            if clip_vision is not None
            else load_features(network, file, device, architecture)
        )


class NoiseSearchReferenceSimilarity(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchReferenceSimilarity",
            display_name="Looks Like Reference (Image Judge)",
            category=JUDGES,
            description="A judge that scores how much an image looks like your reference images.",
            search_aliases=["likeness", "image similarity", "same face", "Reference Similarity"],
            inputs=[
                FeaturesType.Input(
                    "features", tooltip="The network that compares images: Load Image Features."
                ),
                io.Image.Input(
                    "reference",
                    tooltip="What the images should look like. With several, the mean of the similarities counts.",
                ),
                *frames_inputs(),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(cls, features, reference, frames=ImageVerifier.frames, over_frames=ImageVerifier.over_frames):
        return io.NodeOutput(over_frames_of(ReferenceSimilarity(features, reference), frames, over_frames))


class NoiseSearchSelfSupervised(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchSelfSupervised",
            display_name="Self-Supervised (Image Judge)",
            category=JUDGES,
            description="A judge that needs no prompt: it scores how much of an image was already decided early in sampling.",
            search_aliases=[
                "ssl",
                "dino ssl",
                "clip ssl",
                "judge without a prompt",
                "Self-Supervised Verifier",
            ],
            inputs=[
                FeaturesType.Input(
                    "features",
                    tooltip="The network that compares the sample with its early prediction: Load Image Features.",
                ),
                *frames_inputs(),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(cls, features, frames=ImageVerifier.frames, over_frames=ImageVerifier.over_frames):
        return io.NodeOutput(over_frames_of(SelfSupervised(features), frames, over_frames))


class NoiseSearchFeatureStatistics(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchFeatureStatistics",
            display_name="Feature Statistics",
            category=RESEARCH,
            description="Measures how the features of many images are distributed: the reference for FID Oracle.",
            search_aliases=["fid statistics"],
            inputs=[
                FeaturesType.Input("features", tooltip="The network: Load Image Features."),
                io.Image.Input(
                    "images",
                    tooltip="The reference images, as many as possible: several times the number of features.",
                ),
            ],
            outputs=[StatisticsType.Output(display_name="statistics")],
        )

    @classmethod
    def execute(cls, features, images):
        return io.NodeOutput(
            statistics_of(features.image_features(reference_images(images, "Feature Statistics")))
        )


class NoiseSearchLoadFeatureStatistics(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchLoadFeatureStatistics",
            display_name="Load Feature Statistics",
            category=RESEARCH,
            description="Feature statistics from a file, such as those published for FID.",
            search_aliases=["fid statistics"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=head_files()[1:],
                    tooltip="From models/verifiers: .npz with mu and sigma, or safetensors with mean and covariance.",
                ),
            ],
            outputs=[StatisticsType.Output(display_name="statistics")],
        )

    @classmethod
    def fingerprint_inputs(cls, file="", **others):
        return stamp((VERIFIERS, file, ()))

    @classmethod
    def execute(cls, file):
        return io.NodeOutput(load_statistics(resolve("Load Feature Statistics", VERIFIERS, file, ())))


class NoiseSearchFidOracle(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            node_id="NoiseSearchFidOracle",
            display_name="FID Oracle",
            category=RESEARCH,
            description="For experiments: picks the image that brings a growing set closest to reference statistics.",
            search_aliases=["frechet distance"],
            inputs=[
                FeaturesType.Input("features", tooltip="The network the statistics were made with."),
                StatisticsType.Input(
                    "statistics", tooltip="The reference: Feature Statistics or Load Feature Statistics."
                ),
                io.Image.Input(
                    "accepted",
                    optional=True,
                    tooltip="The images that are already in the set; a candidate is scored together with them.",
                ),
            ],
            outputs=[VerifierType.Output(display_name="verifier")],
        )

    @classmethod
    def execute(cls, features, statistics, accepted=None):
        return io.NodeOutput(FrechetOracle(features, statistics, accepted))


NODES = [
    NoiseSearchLoadFeatures,
    NoiseSearchReferenceSimilarity,
    NoiseSearchSelfSupervised,
    NoiseSearchFeatureStatistics,
    NoiseSearchLoadFeatureStatistics,
    NoiseSearchFidOracle,
]
