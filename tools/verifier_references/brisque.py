"""BRISQUE of the test photos by the package `brisque`, as JSON on stdout (run by make.py)."""

import json
import sys
from pathlib import Path

sys.path = [
    entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent
]  # this file has the package's name

import numpy as np  # noqa: E402
from brisque import BRISQUE  # noqa: E402
from photos import NAMES, variants  # noqa: E402


def scalar_fit(self, x, fit=BRISQUE.asymmetric_generalized_gaussian_fit):
    """The package makes floats of arrays with one element, which numpy 2.4 refuses."""
    return tuple(float(np.asarray(value).reshape(())) for value in fit(self, x))


BRISQUE.asymmetric_generalized_gaussian_fit = scalar_fit
judge = BRISQUE(url=False)
values = {
    name: {kind: float(judge.score(pixels)) for kind, pixels in variants(name).items()} for name in NAMES
}
print(json.dumps(values))
