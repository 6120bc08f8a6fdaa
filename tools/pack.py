"""Import the pack by hand under a fixed name, as ComfyUI does under a mangled one.

>>> from pack import load_pack
>>> load_pack(); from noisesearch.search.noise import NoiseRecipe
"""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "noisesearch"


def load_pack():
    """The pack's root package as the module `noisesearch` (loaded once)."""
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[NAME] = module
        spec.loader.exec_module(module)
    return sys.modules[NAME]


def use_comfyui(path):
    """Put a ComfyUI checkout on sys.path and switch it to the CPU (must come before any other comfy import)."""
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = True
    return load_pack()
