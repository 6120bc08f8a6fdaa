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
from .sockets import VerifierType
from .verifier_inputs import FeaturesType, StatisticsType, architecture_input, device_input, frames_inputs


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
                io.Combo.Input(
                    "file",
                    options=all_files(),
                    default=AUTO,
                    tooltip="Its weights. auto: the published file; if missing, it is named.",
                ),
                device_input(),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="When connected, its features are used, and the inputs above are not.",
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
            display_name="Reference Similarity",
            category="NoiseSearch/verifiers",
            description="A judge of how alike an image is to your reference images.",
            search_aliases=["likeness", "image similarity"],
            inputs=[
                FeaturesType.Input("features", tooltip="The network that compares: Load Image Features."),
                io.Image.Input(
                    "reference",
                    tooltip="What the images should look like. Several: the mean of the similarities counts.",
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
            display_name="Self-Supervised Verifier",
            category="NoiseSearch/verifiers",
            description="A judge without a prompt: how much of an image was already decided early in its sampling.",
            search_aliases=["ssl", "dino ssl", "clip ssl", "consistency of the sample"],
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
            category="NoiseSearch/verifiers",
            description="How the features of many images are distributed: the reference of the FID oracle.",
            search_aliases=["fid statistics"],
            inputs=[
                FeaturesType.Input("features", tooltip="The network: Load Image Features."),
                io.Image.Input(
                    "images",
                    tooltip="The reference images, as many as you can: several times the number of features.",
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
            category="NoiseSearch/verifiers",
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
            category="NoiseSearch/verifiers",
            description="For experiments: picks the image that brings a growing set nearest to reference statistics.",
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
