"""timm + safetensors on a device: prepared images → scores [N, C] float32."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from handler.calibration import Calibration
from handler.contents import WEIGHTS_FILE
from handler.errors import LoadError, one_line

# torch's CPU allocator raises a bare RuntimeError (c10/core/impl/alloc_cpu.cpp), and a frozen network's GPU one. Of a
# compiled network's every failure nothing but the call is said; once it has run, there is hardly another.
OUT_OF_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "CUDA out of memory", "run_func_(")
Logits = Callable[[torch.Tensor], torch.Tensor]  # prepared images [N, ...] → logits [N, C] float32
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Forward(torch.nn.Module):
    """Prepared images → logits [N, C] float32."""

    def __init__(self, network: torch.nn.Module, normalise: torch.nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.normalise = normalise
        self.network = network
        self.dtype = dtype

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        normalised = self.normalise(images).contiguous(memory_format=torch.channels_last)
        # Not the whole network in `dtype`: where rounding hurts, autocast keeps float32, at the same speed.
        reduced = self.dtype != torch.float32
        with torch.autocast(images.device.type, self.dtype if reduced else None, reduced, cache_enabled=False):
            logits: torch.Tensor = self.network(normalised)
        return logits.float()


class Model:
    """A network with its weights on a device, as fast as `engine` and `precision` say."""

    def __init__(
        self,
        network: torch.nn.Module,
        device: torch.device,
        normalise: torch.nn.Module,
        precision: str = "float32",
        calibration: Calibration | None = None,
    ) -> None:
        forward = Forward(network, normalise, DTYPES[precision])
        self.logits: Logits = forward.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.device = device
        self.calibration = None
        if calibration is not None and calibration.changes:
            pair = np.stack([calibration.scale, calibration.shift]).astype(np.float32)
            self.calibration = torch.from_numpy(pair).to(device)

    @torch.inference_mode()
    def freeze(self, example: NDArray[Any], tolerance: float, source: object) -> None:
        """Records the network once, with its weights as constants and batch norm folded into the convolutions.

        example: prepared images, [N, ...]. Raises LoadError where the record's scores differ by more than `tolerance`.
        """

        def record(images: torch.Tensor) -> Logits:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what it warns of is tried below
                return torch.jit.freeze(torch.jit.trace(self.logits, images, check_trace=False))  # type: ignore[no-untyped-call, no-any-return]

        self.replace(record, example, tolerance, "frozen", source)

    @torch.inference_mode()
    def replace(
        self,
        make: Callable[[torch.Tensor], Logits],
        example: NDArray[Any],
        tolerance: float,
        engine: str,
        source: object,
    ) -> None:
        """From now on takes the logits from what `make` gives for prepared images.

        Raises LoadError where it fails, or its scores differ from those of the network as Python runs it by more than
        `tolerance`."""
        images = torch.from_numpy(example).to(self.device)
        try:
            logits = make(images)
            # Of one image, too: a record may hold the size of its example.
            pairs = [(self._score(logits(each)), self._score(self.logits(each))) for each in (images, images[:1])]
            worst = max(float((one - other).abs().max()) for one, other in pairs)
        except Exception as error:  # whatever the network raises under the tracer
            reason = one_line(error)[-200:]
            raise LoadError(source, f"engine: {engine}, expected eager: this architecture fails: {reason}") from None
        if not worst <= tolerance:
            raise LoadError(source, f"engine: {engine}, expected eager: scores differ by {worst:.4f}")
        self.logits = logits

    @torch.inference_mode()
    def scores(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Prepared images [N, ...] → [N, C] float32 in 0 to 1. Raises MemoryError where the device has too little."""
        try:
            images = torch.from_numpy(batch)
            if self.device.type == "cuda":
                images = images.pin_memory().to(self.device, non_blocking=True)
            return self._score(self.logits(images)).cpu().numpy()
        except torch.cuda.OutOfMemoryError as error:
            raise MemoryError(str(error)) from None
        except RuntimeError as error:
            if any(text in str(error) for text in OUT_OF_MEMORY):
                raise MemoryError(str(error)) from None
            raise

    def _score(self, logits: torch.Tensor) -> torch.Tensor:
        """Independent probabilities: a sigmoid for each class."""
        if self.calibration is not None:
            logits = logits * self.calibration[0] + self.calibration[1]
        return torch.sigmoid(logits)

    def free_memory(self) -> None:
        """Gives back what torch keeps on a GPU for later: in pieces that may be too small now."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def create_network(architecture: str, classes: int, model_kwargs: dict[str, Any], source: object) -> torch.nn.Module:
    """Makes the network without weights; raises LoadError where timm doesn't know the name or its arguments."""
    if not timm.is_model(architecture):
        near = ", ".join(timm.list_models(f"*{architecture}*")[:3]) or "a name from timm.list_models()"
        raise LoadError(
            source, f"architecture: {architecture}, expected a name that timm {timm.__version__} knows: {near}"
        )
    try:
        # The names are checked above, so no hub is ever asked.
        network: torch.nn.Module = timm.create_model(
            architecture, pretrained=False, num_classes=classes, **model_kwargs
        )
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError) as error:
        raise LoadError(source, f"model_kwargs: {model_kwargs}, refused by timm: {one_line(error)}") from None
    return network


def load_weights(network: torch.nn.Module, tensors: dict[str, torch.Tensor], source: object) -> None:
    """Copies the tensors into the network; raises LoadError naming the first tensor that doesn't fit."""
    wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
    missing = [name for name in wanted if name not in tensors]
    extra = [name for name in tensors if name not in wanted]
    if missing or extra:
        first = f"{missing[0]}: missing" if missing else f"{extra[0]}: not in the architecture"
        raise LoadError(
            source, f"{first}, expected the {len(wanted)} tensors of it ({len(missing)} missing, {len(extra)} extra)"
        )
    for name, shape in wanted.items():
        if tensors[name].shape != shape:
            raise LoadError(source, f"{name}: shape {list(tensors[name].shape)}, expected {list(shape)}")
    network.load_state_dict(tensors)


def read_weights(directory: Path) -> dict[str, torch.Tensor]:
    """Returns the tensors of model.safetensors."""
    path = directory / WEIGHTS_FILE
    try:
        return load_file(path)
    except FileNotFoundError:
        raise LoadError(path, "missing, expected the weights as safetensors") from None
    except SafetensorError as error:
        raise LoadError(path, f"not a safetensors file: {error}") from None
