"""Compute the numbers the verifiers' tests compare with, by the original packages, each in an environment of its own.

    python tools/verifier_references/make.py brisque      writes tests/fixtures/brisque.json

Needs `uv` (or set up the environment under .cache/references/<name> by hand). Nothing of this is installed where the pack runs.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = {
    "brisque": ["brisque==0.2.0", "opencv-python-headless==5.0.0.93", "scikit-image==0.26.0", "numpy==2.4.6", "pillow==13.0.0"],
}


def make(name):
    environment = ROOT / ".cache" / "references" / name
    python = environment / "bin" / "python"
    if not python.exists():
        subprocess.run(["uv", "venv", "-q", "-p", sys.executable, environment], check=True)
        subprocess.run(["uv", "pip", "install", "-q", "--python", python, *PACKAGES[name]], check=True)
    program = Path(__file__).with_name(f"{name}.py")
    done = subprocess.run([python, program], cwd=ROOT, env={"PYTHONPATH": str(ROOT / "tests"), "PATH": ""}, check=True, stdout=subprocess.PIPE, text=True)
    result = {"made by": f"tools/verifier_references/make.py {name}", "with": PACKAGES[name], "values": json.loads(done.stdout)}
    (ROOT / "tests" / "fixtures" / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=sorted(PACKAGES))
    for name in parser.parse_args().names:
        make(name)
