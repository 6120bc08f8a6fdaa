"""The demo's judges and features, as the demo adds them to the catalogue of verifiers."""

from ..verifiers.catalogue import FEATURES, SCORERS, Scorer
from ..verifiers.files import VERIFIERS
from ..verifiers.published import Published
from .attributes import SceneAttributes
from .classifiers import ClassifierFeatures
from .digits import DigitClassifier

DIGITS = Published("digits_classifier.safetensors", "0.3 MB", "GPL-3.0-or-later", "comes with this pack")
SCENES = Published("scenes_attributes.safetensors", "0.7 MB", "GPL-3.0-or-later", "comes with this pack")

SCORERS["digit classifier (demo)"] = Scorer(
    VERIFIERS, (DIGITS,), lambda path, device, architecture: DigitClassifier(path, device)
)
SCORERS["scene attributes (demo)"] = Scorer(
    VERIFIERS, (SCENES,), lambda path, device, architecture: SceneAttributes(path, device)
)
FEATURES["digit classifier (demo)"] = Scorer(
    VERIFIERS, (DIGITS,), lambda path, device, architecture: ClassifierFeatures(path, device)
)
