"""Compute the numbers the verifiers' tests compare with, by the original packages, each in an environment of its own.

    python tools/verifier_references/make.py brisque cycle_reward fid_inception hps image_reward      writes tests/fixtures/<name>.json
    python tools/verifier_references/make.py --test-transformers4      runs the tests of ImageReward on transformers 4
    python tools/verifier_references/make.py --test-image-reward       runs those of "ImageReward (package)" with the real package

Nothing of this is installed where the pack runs: packages go to .cache/references/<name>, in front of this Python's own. ImageReward's numbers
are computed anew by its test, too: the same bits are to be had on one machine only.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TRANSFORMERS4 = ["transformers==4.57.6", "tokenizers==0.22.2", "huggingface-hub==0.36.2"]
PACKAGES = {
    "brisque": [
        "brisque==0.2.0",
        "opencv-python-headless==5.0.0.93",
        "scikit-image==0.26.0",
        "libsvm-official==3.37.0",
        "lazy-loader",
        "imageio",
        "tifffile",
    ],
    "cycle_reward": [
        "cyclereward==0.1.7",
        "timm==0.6.13",
        "fairscale==0.4.13",
        "transformers==4.55.4",
        "tokenizers==0.21.4",
        "huggingface-hub==0.34.4",
    ],
    "fid_inception": ["pytorch-fid==0.3.0"],
    "hps": ["hpsv2==1.2.0"],
    "image_reward": ["image-reward==1.5", *TRANSFORMERS4],
    "transformers4": TRANSFORMERS4,
    "image_reward_package": [  # all that its import wants beyond ComfyUI's own packages
        "image-reward==1.5",
        "timm==0.6.13",
        "fairscale==0.4.13",
        "transformers==4.55.4",
        "tokenizers==0.21.4",
        "huggingface-hub==0.34.4",
        "diffusers==0.35.1",
        "accelerate==1.10.1",
        "datasets==4.0.0",
        "clip-anytorch==2.6.0",
        "setuptools==80.9.0",
        "dill==0.3.8",
        "multiprocess==0.70.16",
        "pandas==3.1.1; python_version >= '3.11'",
        "pandas==2.3.3; python_version < '3.11'",
        "pyarrow==26.0.1; python_version >= '3.11'",
        "pyarrow==21.0.0; python_version < '3.11'",
        "xxhash==4.1.0",
    ],
}
TESTS = {
    "transformers4": "tests/test_verifiers_image_reward.py",
    "image_reward_package": "tests/test_verifiers_image_reward_package.py",
}


def environment(name):
    """The environment variables that put the packages in front."""
    folder = ROOT / ".cache" / "references" / name
    if not folder.exists():
        unfinished = folder.with_suffix(".part")
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "install",
                "-q",
                "--no-deps",
                "--upgrade",
                "--target",
                unfinished,
                *PACKAGES[name],
            ],
            check=True,
        )
        unfinished.replace(folder)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT / "tests")])}


def values(name):
    """What the original package computes on this machine."""
    program = Path(__file__).with_name(f"{name}.py")
    done = subprocess.run(
        [sys.executable, program],
        cwd=ROOT,
        env=environment(name),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout)


def make(name):
    result = {
        "made by": f"tools/verifier_references/make.py {name}",
        "with": PACKAGES[name],
        "values": values(name),
    }
    (ROOT / "tests" / "fixtures" / f"{name}.json").write_text(json.dumps(result) + "\n", encoding="utf-8")


def run_tests(name):
    """The tests that an environment is for, in it."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        "tests/pytest.ini",
        TESTS[name],
        "-m",
        "not slow",
    ]
    return subprocess.run(command, cwd=ROOT, env=environment(name)).returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="brisque, cycle_reward, fid_inception, hps, image_reward")
    parser.add_argument("--test-transformers4", dest="test", action="store_const", const="transformers4")
    parser.add_argument(
        "--test-image-reward", dest="test", action="store_const", const="image_reward_package"
    )
    wanted = parser.parse_args()
    for name in wanted.names:
        make(name)
    if wanted.test:
        sys.exit(run_tests(wanted.test))
