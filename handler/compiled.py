"""A network compiled ahead of time to machine code: for one torch, one kind of processor, one precision and one set of
weights.

scripts/tune.py compiles it where that pays. The machine code checks nothing itself: on a processor that lacks an
instruction it ends the worker, and for another shape it reads beyond the image. So this module checks that it runs
where it was compiled for.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from handler.errors import LoadError, one_line
from handler.files import read_json

NETWORK_FILE = "network.so"
COMPILED_FILE = "network.json"  # what it was compiled for
REMEDY = "expected handler.engine: frozen, or scripts/tune.py run here"
# What a compiler may use of the kernel's names; others come and go with the kernel.
INSTRUCTIONS = re.compile(
    r"abm|adx|amx|asimd|avx|bf16|bmi|f16c|fma|fphp|gfni|i8mm|movbe|popcnt|s?sse|sve|v?aes|v?pclmul"
)


def circumstances(precision: str, weights_sha256: str, example: NDArray[Any]) -> dict[str, Any]:
    """What a compiled network depends on, as it is in this process. example: prepared images [N, ...]."""
    return {
        "torch": str(torch.__version__),
        "precision": precision,
        "image": f"{example.dtype} {list(example.shape[1:])}",
        "weights_sha256": weights_sha256,
        "instructions": _instructions(),
    }


def load_compiled(
    directory: Path, precision: str, weights_sha256: str, example: NDArray[Any]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Returns what turns prepared images [N, ...] into logits [N, C]. Raises LoadError where the network is missing or
    was compiled for something else. example: prepared images [N, ...]."""
    path = directory / COMPILED_FILE
    compiled = read_json(path, "what the network was compiled for (or handler.engine: frozen)")
    if not isinstance(compiled, dict):
        raise LoadError(path, "expected a JSON object")
    for key, here in circumstances(precision, weights_sha256, example).items():
        then = compiled.get(key)
        if key == "instructions" and isinstance(then, list):
            if lacking := [name for name in then if name not in here]:
                raise LoadError(path, f"{key}: this processor lacks {', '.join(map(str, lacking[:5]))}, {REMEDY}")
        elif then != here:
            raise LoadError(path, f"{key}: {then}, but here it is {here}, {REMEDY}")
    network = directory / NETWORK_FILE
    try:
        # What torch._export.aot_load wraps in parsing and a warning: the package that it recommends is unknown to
        # torch 2.4, which the official image has.
        runner = torch._C._aoti.AOTIModelContainerRunnerCpu(str(network), 1)  # type: ignore[call-arg]
    except RuntimeError as error:  # no library, or on a file system that is mounted noexec
        reason = one_line(str(error).splitlines()[0].replace(f"{directory}/", ""))
        raise LoadError(network, f"can't be loaded: {reason}, {REMEDY}") from None
    return lambda images: runner.run([images])[0]  # type: ignore[attr-defined]


def _instructions() -> list[str]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return sorted({flag for flag in flags if INSTRUCTIONS.match(flag)})
