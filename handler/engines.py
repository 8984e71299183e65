"""The ways to run a network, by the names that `handler.engine` has for them."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from handler.compiled import load_compiled
from handler.settings import EngineName

Logits = Callable[[torch.Tensor], torch.Tensor]  # prepared images [N, ...] → logits [N, C] float32


@dataclass(frozen=True)
class Plan:
    """What an engine starts from."""

    network: Logits  # as Python runs it
    example: torch.Tensor  # prepared images [N, ...] on the device
    precision: str = "float32"
    archive: Path = Path()  # unpacked
    weights_sha256: str = ""


@dataclass(frozen=True)
class Engine:
    load: Callable[[Plan], Logits]  # raises LoadError where a file is wrong, and whatever torch raises
    devices: tuple[str, ...]  # the types on which it runs, as torch names them
    needs: str


def _freeze(plan: Plan) -> Logits:
    """Records the network once, with its weights as constants and batch norm folded into the convolutions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's doubts: Model.use compares the scores
        record = torch.jit.trace(plan.network, plan.example, check_trace=False)  # type: ignore[no-untyped-call]
        return torch.jit.freeze(record)  # type: ignore[no-any-return]


def _load_compiled(plan: Plan) -> Logits:
    return load_compiled(plan.archive, plan.precision, plan.weights_sha256, plan.example.numpy())


ENGINES: Mapping[EngineName, Engine] = {
    "eager": Engine(lambda plan: plan.network, ("cpu", "cuda"), "nothing"),
    "frozen": Engine(_freeze, ("cpu", "cuda"), "an architecture that torch.jit.trace can record"),
    "compiled": Engine(_load_compiled, ("cpu",), "a network that scripts/tune.py compiled for this kind of processor"),
}
