"""The network as OpenVINO runs it on a CPU, converted when the archive was built (scripts/archive/conversion.py).

What the archive keeps of it is data, not machine code: OpenVINO compiles it when a worker starts. A release of OpenVINO
can crash on a processor that it does not know. So a process of its own runs the network once, before a worker relies
on it.
"""

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.contents import PREPROCESSING_FILE, PROOFS, WEIGHTS_FILE
from handler.errors import LoadError, Unavailable, one_line
from handler.hidden import hidden
from handler.settings import Settings

logger = logging.getLogger(__name__)

NETWORK_FILE, CONSTANTS_FILE = "network.xml", "network.bin"
QUANTISED = "int8"  # the precision that scripts/quantise.py gives
ORIGIN = "converted_from"  # the key under which the file names what it was converted from
HINTS = {"float32": "f32", "bfloat16": "bf16", QUANTISED: "f32"}  # of what is not quantised
CRASHES = (signal.SIGILL, signal.SIGFPE, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)
PROOF_SECONDS = 120.0
ALONE = {"NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}  # workers would be pinned to the same cores

Infer = Callable[[NDArray[Any]], NDArray[np.float32]]  # prepared images [N, ...] → logits [N, C]


def import_openvino() -> Any:
    """Raises Unavailable where it isn't installed."""
    try:
        with hidden("openvino.tools"):  # converts, and would report the import to the maker's statistics
            import openvino
    except ImportError as error:
        raise Unavailable("openvino", one_line(error)) from None
    return openvino


def network_files(precision: str) -> tuple[str, str]:
    """The names of the network and of its constants. A quantised one has names of its own: it is no other precision."""
    suffix = f"-{QUANTISED}" if precision == QUANTISED else ""
    network, constants = Path(NETWORK_FILE), Path(CONSTANTS_FILE)
    return f"{network.stem}{suffix}{network.suffix}", f"{constants.stem}{suffix}{constants.suffix}"


@cache
def openvino_core() -> Any:
    """The one of this process, which keeps it. Raises Unavailable.

    Its plugin for CPUs gives the thread a stack of its own for signals, and frees it with the last core: the next
    signal would end the process.
    """
    return import_openvino().Core()


def origin(digests: Mapping[str, str], settings: Settings, classes: int) -> str:
    """SHA-256 of all that a converted network depends on. digests: those of an archive's files."""
    parts = [digests.get(name) for name in (WEIGHTS_FILE, PREPROCESSING_FILE)]
    text = json.dumps([*parts, settings.architecture, settings.model_kwargs, settings.head, classes], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def load_converted(directory: Path, precision: str, made_from: str, threads: int, example: NDArray[Any]) -> Infer:
    """made_from: what `origin` gives here. example: prepared images [N, ...].

    Raises Unavailable where it can't run here, and LoadError where the file was made from something else.
    """
    path = directory / network_files(precision)[0]
    if not path.exists():
        maker = "quantise" if precision == QUANTISED else "build_archive"
        raise Unavailable(path, f"missing, expected the network as scripts/{maker}.py converts it")
    if precision not in HINTS:
        raise Unavailable(path, f"precision: {precision}, expected {' or '.join(HINTS)} on a CPU")
    core = openvino_core()
    prove(path, precision, example)
    model = core.read_model(path)
    if not model.has_rt_info([ORIGIN]) or model.get_rt_info([ORIGIN]).astype(str) != made_from:
        raise LoadError(
            path,
            "converted from other weights, preprocessing, architecture or number of labels, expected this archive's",
        )
    return compile_converted(model, precision, threads)


def compile_converted(model: Any, precision: str, threads: int) -> Infer:
    """Of a path or of a model in memory."""
    settings = {**ALONE, "INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": threads}
    request = openvino_core().compile_model(model, "CPU", settings).create_infer_request()
    return lambda images: request.infer([images], share_inputs=True)[0]


def prove(path: Path, precision: str, example: NDArray[Any]) -> None:
    """Runs the network in a process of its own, unless one has done so for this copy of it. Raises Unavailable.

    What may pass is not kept: a lack of memory, or a machine too busy.
    """
    # All workers of a version share the directory, and TorchServe unpacks it anew at each start and registration.
    record = path.parent / PROOFS / precision
    try:
        reason = record.read_text(encoding="utf-8")
    except OSError:
        reason, lasts = _run_apart(path, precision, example)
        if lasts:
            _keep(record, reason)
    if reason:
        raise Unavailable(path, reason)


def _keep(record: Path, reason: str) -> None:
    try:
        record.parent.mkdir(exist_ok=True)
        temporary = record.with_suffix(f".{os.getpid()}")
        temporary.write_text(reason, encoding="utf-8")
        temporary.replace(record)  # at once: another worker may read it
    except OSError as error:
        logger.info("%s: each worker tries the network, as this can't be kept: %s", record, error.strerror)


def _run_apart(path: Path, precision: str, example: NDArray[Any]) -> tuple[str, bool]:
    """Returns why it fails, or nothing; and whether another try would end the same."""
    command = [sys.executable, "-P", "-m", __name__, str(path), precision, example.dtype.str, *map(str, example.shape)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PROOF_SECONDS)
    except subprocess.TimeoutExpired:
        return f"a try did not end within {PROOF_SECONDS:.0f} s", False
    except OSError as error:  # no process can be started
        return f"a try can't be started: {error.strerror}", False
    if done.returncode < 0:
        return f"a try was ended by {signal.strsignal(-done.returncode)}", -done.returncode in CRASHES
    last = (done.stderr.strip().splitlines() or [f"a try ended with exit code {done.returncode}"])[-1]
    return (one_line(last)[-200:], True) if done.returncode else ("", True)


def main() -> None:
    """Fails, in whatever way, where the network does not give finite logits here."""
    path, precision, dtype, *shape = sys.argv[1:]
    infer = compile_converted(path, precision, threads=1)
    for images in {int(shape[0]), 1}:
        logits = infer(np.zeros((images, *map(int, shape[1:])), dtype))
        if len(logits) != images or not np.isfinite(logits).all():
            sys.exit(f"a try gave {logits.shape} for {images} images, or a logit that is not finite")


if __name__ == "__main__":
    main()
