"""Hostile files for every loader: refused by a WrongFile with a short message, within a second of the CPU and 64 MB. A thousand and more of them.

Each loader meets its files in a process of its own, where the peak of memory can be measured.
"""

import ctypes
import gc
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

MOST_SECONDS, MOST_MIB = 1.0, 64
TESTS = Path(__file__).resolve().parent
GROUPS = {
    "preference": ["ImageReward", "aesthetic head"],
    "CLIP": ["CLIP", "CLIP in transformers' layout"],
    "demo": ["digit classifier", "digit classifier as features", "scene attributes"],
    "features": ["DINO", "DINO head", "BRISQUE", "feature statistics"],
}


@pytest.mark.parametrize("group", GROUPS)
def test_hostile_files_are_refused_at_once(group, comfyui, tmp_path):
    program = "import sys; sys.path[:0] = sys.argv[1:3]; import test_verifiers_hostile_files as t; t.measure(*sys.argv[3:])"
    done = subprocess.run(
        [sys.executable, "-c", program, TESTS, TESTS.parent / "tools", comfyui, group, tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    cases = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(cases) > 250
    bad = [
        case for case in cases if case["fault"] or case["seconds"] > MOST_SECONDS or case["MiB"] > MOST_MIB
    ]
    assert bad == [], f"{len(bad)} of {len(cases)}"


def test_every_kind_of_file_is_in_a_group():
    from test_verifiers_broken_files import KINDS

    assert sorted(kind for kinds in GROUPS.values() for kind in kinds) == sorted(KINDS)


# -- in the process of its own ----------------------------------------------------------------------------------------------


def measure(comfyui, group, folder):
    """Print what became of each case, one JSON object a line."""
    from pack import use_comfyui

    use_comfyui(comfyui)
    import test_verifiers_broken_files as broken
    from safetensors.torch import save_file

    warnings.simplefilter("ignore")
    for name in GROUPS[group]:
        home = Path(folder, name.replace(" ", "_"))
        home.mkdir()
        kind = broken.KINDS[name](home)
        kind.good = {key: value.contiguous() for key, value in kind.good.items()}
        path = home / f"{kind.stem}.safetensors"
        save_file(kind.good, path, kind.metadata)
        kind.load(path)  # imports what it needs
        path.unlink()
        gc.freeze()  # or each collection would look at all that was imported
        for case, load in _cases(name, kind, home):
            print(json.dumps({"kind": name, "case": case, **_tried(load)}), flush=True)


def _cases(name, kind, home):
    """(case, a function that loads its file) of one kind of file."""
    import hostile_files as hostile
    from noisesearch.verifiers.files import CLIP_CONFIG
    from safetensors.torch import save_file

    seed = sum(name.encode())
    written = {**hostile.TORCH, **hostile.SAFETENSORS, **hostile.mutations(16, seed)}
    for case, write in written.items():
        file = write(home / kind.stem, kind.good)
        yield case, lambda file=file: kind.load(file)
        file.unlink()
    good = home / f"{kind.stem}.safetensors"
    if name == "CLIP":
        config = home / "clip" / CLIP_CONFIG
        whole = config.read_text()
        save_file(kind.good, good)
        for case, changed in hostile.clip_configs(json.loads(whole)["model_cfg"]).items():
            config.write_text(changed)
            yield f"config: {case}", lambda: kind.load(good)
        config.write_text(whole)
    if "classifier" in kind.metadata:
        for case, settings in hostile.classifier_settings(kind.metadata["classifier"]).items():
            save_file(kind.good, good, {"classifier": settings.encode("utf-8", "replace").decode()})
            yield f"settings: {case}", lambda: kind.load(good)
    if name == "feature statistics":
        for case, write in hostile.statistics(home).items():
            write(home / "odd.npz")
            yield f"npz: {case}", lambda: kind.load(home / "odd.npz")
    if name == "DINO":
        few = {key: value.clone() for key, value in list(kind.good.items())[:3]}
        for architecture in ("vit_giant_patch14_dinov2", "vit_huge_plus_patch16_dinov3"):
            save_file(few, home / f"{architecture}.safetensors")
            yield architecture, lambda file=home / f"{architecture}.safetensors": kind.load(file)
    if name == "ImageReward":
        yield from _reward_cases(kind, good)


def _reward_cases(kind, good):
    import torch
    from safetensors.torch import save_file

    block = "blip.visual_encoder.blocks."
    layer = {key: value for key, value in kind.good.items() if key.startswith(f"{block}0.")}
    wide = torch.zeros(1, 2, 60_000)
    changes = {
        "4000 layers of one tensor": {f"{block}{i}.norm1.weight": torch.zeros(1) for i in range(4000)},
        "300 whole layers": {
            key.replace(f"{block}0.", f"{block}{i}."): value
            for i in range(300)
            for key, value in layer.items()
        },
        "layers of odd numbers": {f"{block}\u0663.norm1.weight": torch.zeros(1)},
        "a wide picture": {"blip.visual_encoder.pos_embed": wide},
        "wide words": {"blip.text_encoder.embeddings.word_embeddings.weight": wide[0]},
        "no patches": {"blip.visual_encoder.patch_embed.proj.weight": torch.zeros(0, 3, 0, 0)},
        "positions without end": {
            "blip.text_encoder.embeddings.position_embeddings.weight": torch.zeros(2**20, 1)
        },
    }
    for case, change in changes.items():
        save_file({key: value.clone() for key, value in {**kind.good, **change}.items()}, good)
        yield case, lambda: kind.load(good)


def _tried(load):
    """What came of loading: the fault ("" when all is well), seconds and the MiB it took at its peak."""
    gc.collect()
    _give_back()
    before = _memory("VmRSS")
    _reset_peak()
    began = time.process_time()
    fault = "it was taken"
    try:
        load()
    except Exception as error:
        told = str(error)
        right = type(error).__name__ == "WrongFile" and told.isascii() and 20 < len(told) < 1000
        fault = "" if right else f"{type(error).__name__}: {ascii(told)[:300]}"
    seconds = time.process_time() - began
    return {"fault": fault, "seconds": round(seconds, 3), "MiB": round((_memory("VmHWM") - before) / 1024, 1)}


def _give_back():
    """Free memory goes back to the system, or it would hide what is taken next."""
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _reset_peak():
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def _memory(field):
    """kB of memory; 0 where the system does not say."""
    if sys.platform != "linux":
        return 0
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{field}:"))
