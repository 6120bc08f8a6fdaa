"""Pictures preprocessed by the package hpsv2, as JSON on stdout (run by make.py).

The package's __init__ lacks a file it wants, so the one module is loaded by itself.
"""

import importlib
import importlib.util
import json
import sys
import types
from pathlib import Path

from hps_pictures import KEPT, pictures
from PIL import Image

package = types.ModuleType("hps_open_clip")
package.__path__ = [str(Path(importlib.util.find_spec("hpsv2").origin).parent / "src" / "open_clip")]
sys.modules[package.__name__] = package
transform = importlib.import_module("hps_open_clip.transform").image_transform(
    224, is_train=False, mean=None, std=None, resize_longest_max=True
)
print(
    json.dumps(
        {
            "pixels": [
                [round(value, 6) for value in transform(Image.fromarray(picture)).flatten()[KEPT].tolist()]
                for picture in pictures()
            ]
        }
    )
)
