"""The ways to run a network, by the names that `handler.engine` has for them."""

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch

from handler.converted import QUANTISED, Infer, load_converted
from handler.errors import LoadError, Unavailable, one_line
from handler.settings import EngineName

logger = logging.getLogger(__name__)

Logits = Callable[[torch.Tensor], torch.Tensor]  # prepared images [N, ...] → logits [N, C] float32
Name = Literal["openvino", "frozen", "eager"]


@dataclass(frozen=True)
class Plan:
    """What an engine starts from."""

    make_network: Callable[[], Logits]  # as Python runs it, with its weights, on the device; this imports timm
    example: torch.Tensor  # prepared images [N, ...] on the device
    tolerance: float = 0.01  # largest difference of a score
    precision: str = "float32"
    archive: Path = Path()  # unpacked
    origin: str = ""  # what a converted network must have been made from, as converted.origin gives it
    threads: int = 1

    @cached_property
    def network(self) -> Logits:
        return self.make_network()


@dataclass(frozen=True)
class Engine:
    load: Callable[[Plan], Logits]  # raises Unavailable where it can't be had here, LoadError where a file is wrong
    devices: tuple[str, ...]  # the types on which it runs, as torch names them


def as_logits(infer: Infer) -> Logits:
    """A converted network, for tensors."""
    return lambda images: torch.from_numpy(infer(images.numpy()))


def largest_difference(one: Logits, other: Logits, images: torch.Tensor) -> float:
    """Of a score, between two ways to run a network. NaN if a score is none."""
    return float((torch.sigmoid(one(images)) - torch.sigmoid(other(images))).abs().max())


def engines_for(device: torch.device) -> list[Name]:
    """Those that run there, the fastest first."""
    return [name for name, engine in ENGINES.items() if device.type in engine.devices]


def _compile_converted(plan: Plan) -> Logits:
    # Compared with the network as Python runs it when the archive was built; here the golden inputs are the judge.
    return as_logits(load_converted(plan.archive, plan.precision, plan.origin, plan.threads, plan.example.numpy()))


def _freeze(plan: Plan) -> Logits:
    """Records the network once, with its weights as constants and batch norm folded into the convolutions."""
    eager = plan.network
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer's doubts: the scores are compared
            record = torch.jit.trace(eager, plan.example, check_trace=False)  # type: ignore[no-untyped-call]
            frozen: Logits = torch.jit.freeze(record)
        # Of one image, too: a record may hold the size of its example.
        worst = max(largest_difference(frozen, eager, batch) for batch in (plan.example, plan.example[:1]))
    except Exception as error:  # whatever the network raises under the tracer
        reason = one_line(error)[-200:]
        raise Unavailable("frozen", f"torch.jit.trace can't record this architecture: {reason}") from None
    if not worst <= plan.tolerance:
        raise Unavailable("frozen", f"scores differ by {worst:.4f}")
    return frozen


ENGINES: Mapping[Name, Engine] = {  # the fastest first
    "openvino": Engine(_compile_converted, ("cpu",)),
    "frozen": Engine(_freeze, ("cpu", "cuda")),
    "eager": Engine(lambda plan: plan.network, ("cpu", "cuda")),
}


@torch.inference_mode()
def start_engine(name: EngineName, plan: Plan, source: object) -> tuple[Name, Logits]:
    """Returns the engine that was taken and the network as it runs it. source: what names the engine.

    `auto` is the first engine that can be had here. Raises LoadError where a file is wrong, or where the engine that
    was named can't be had. The weights of a quantised network are in the converted one alone, so there is no other.
    """
    device = plan.example.device
    if plan.precision == QUANTISED:
        return _start_quantised(name, plan, source)
    if name != "auto" and name not in engines_for(device):
        where = " or ".join(ENGINES[name].devices)
        raise LoadError(source, f"engine: {name}, expected auto: {device}: it runs on {where} alone")
    for candidate in engines_for(device) if name == "auto" else [name]:
        try:
            return candidate, ENGINES[candidate].load(plan)
        except Unavailable as error:
            if name != "auto":
                raise LoadError(source, f"engine: {name}, expected auto: {error}") from None
            logger.warning("engine: %s can't be used: %s", candidate, error)
    raise AssertionError("eager runs everywhere")


def _start_quantised(name: EngineName, plan: Plan, source: object) -> tuple[Name, Logits]:
    """Raises LoadError where it can't run: another engine's scores would not be those that were judged."""
    taken: Name = "openvino"
    if name not in ("auto", taken):
        raise LoadError(source, f"engine: {name}, expected auto or {taken} with precision: {QUANTISED}")
    if taken not in engines_for(plan.example.device):
        problem: object = f"it runs on a CPU alone, not on {plan.example.device}"
    else:
        try:
            return taken, ENGINES[taken].load(plan)
        except Unavailable as error:
            problem = error
    raise LoadError(source, f"precision: {QUANTISED}, expected the version that was quantised: {problem}")
