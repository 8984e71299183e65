"""Compiles the network of an unpacked archive ahead, by torch's inductor and a C++ compiler of this machine."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from handler.classifier import Classifier
from handler.compiled import COMPILED_FILE, NETWORK_FILE, circumstances
from handler.errors import LoadError

CPU = torch.device("cpu")
MAX_BATCH = 1024  # as batchSize allows


def compile_network(directory: Path, precision: str) -> None:
    """Writes both files of handler.compiled, for the CPU. Raises LoadError where the network or this machine can't.

    A process of its own: the compiler prints much, and keeps much.
    """
    with tempfile.TemporaryDirectory(prefix="compile-") as cache:
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(directory), precision],
            env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache},
            capture_output=True,
            text=True,
        )
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if "Error" in line] or done.stderr.splitlines()[-1:]
        raise LoadError(directory / NETWORK_FILE, f"can't be compiled: {' '.join(errors[-1:])[:200]}")


def main() -> None:
    directory, precision = Path(sys.argv[1]), sys.argv[2]
    classifier = Classifier.load(directory, CPU, engine="eager", precision=precision)
    example = classifier.example(2)  # of one image, the batch's size would be taken for a constant
    with torch.no_grad():
        torch._export.aot_compile(
            classifier.model.logits,
            (torch.from_numpy(example),),
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=MAX_BATCH)}},
            options={
                "aot_inductor.output_path": str(directory / NETWORK_FILE),
                "freezing": True,
                # The worker says how many threads, by torch.set_num_threads.
                "cpp.dynamic_threads": True,
            },
        )
    compiled = circumstances(precision, classifier.weights_sha256, example)
    (directory / COMPILED_FILE).write_text(json.dumps(compiled, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
