"""Compiles the network of an unpacked archive ahead of time, with torch's inductor and this machine's C++ compiler."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from handler.classifier import Classifier
from handler.compiled import COMPILED_FILE, NETWORK_FILE, circumstances
from handler.errors import LoadError

CPU = torch.device("cpu")
MAX_BATCH = 1024  # the largest batchSize


def compile_network(directory: Path, precision: str) -> None:
    """Writes the two files that handler.compiled reads, for the CPU. Raises LoadError if the compiler fails.

    It runs in a process of its own, because it prints a lot and keeps memory.
    """
    with tempfile.TemporaryDirectory(prefix="compile-") as cache:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, str(directory), precision],
            env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache},
            capture_output=True,
            text=True,
        )
    if done.returncode != 0:
        raise LoadError(directory / NETWORK_FILE, f"can't be compiled: {_reason(done)[:200]}")


def _reason(failed: "subprocess.CompletedProcess[str]") -> str:
    if failed.returncode < 0:  # where memory is short, the kernel kills it
        return f"the compiler was killed by {signal.Signals(-failed.returncode).name}"
    lines = failed.stderr.splitlines()
    errors = [line for line in lines if "Error" in line] or [line for line in lines if line.strip()]
    return errors[-1] if errors else f"the compiler ended with exit code {failed.returncode}"


def main() -> None:
    directory, precision = Path(sys.argv[1]), sys.argv[2]
    classifier = Classifier.load(directory, CPU, engine="eager", precision=precision)
    example = classifier.example(2)  # a batch of 1 would be compiled as a constant size
    with torch.no_grad():
        torch._export.aot_compile(
            classifier.model.logits,
            (torch.from_numpy(example),),
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=MAX_BATCH)}},
            options={
                "aot_inductor.output_path": str(directory / NETWORK_FILE),
                "freezing": True,
                # The worker sets the number of threads, with torch.set_num_threads.
                "cpp.dynamic_threads": True,
            },
        )
    compiled = circumstances(precision, classifier.weights_sha256, example)
    (directory / COMPILED_FILE).write_text(json.dumps(compiled, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
