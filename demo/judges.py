"""The demo's judges and features, as the demo adds them to the catalogue of verifiers."""

from ..verifiers.catalogue import FEATURES, SCORERS, Scorer
from ..verifiers.files import VERIFIERS, Published
from .attributes import SceneAttributes
from .classifiers import ClassifierFeatures
from .digits import DigitClassifier


def _packaged(name: str, size: str) -> Published:
    return Published(name, size, "GPL-3.0-or-later", "comes with this pack")


DIGITS_FILE = _packaged("digits_classifier.safetensors", "0.3 MB")
SCENES_FILE = _packaged("scenes_attributes.safetensors", "0.7 MB")

SCORERS["digit classifier (demo)"] = Scorer(
    VERIFIERS, (DIGITS_FILE,), lambda s: DigitClassifier(s.path, s.device)
)
SCORERS["scene attributes (demo)"] = Scorer(
    VERIFIERS, (SCENES_FILE,), lambda s: SceneAttributes(s.path, s.device)
)
FEATURES["digit classifier (demo)"] = Scorer(
    VERIFIERS, (DIGITS_FILE,), lambda s: ClassifierFeatures(s.path, s.device)
)
