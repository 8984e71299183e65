"""timm + safetensors on a device: prepared images → scores [N, C] float32."""

import re
from difflib import get_close_matches
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
from handler.engines import ENGINES, Logits, Plan
from handler.errors import LoadError, one_line
from handler.settings import EngineName

# torch's CPU allocator raises a bare RuntimeError (c10/core/impl/alloc_cpu.cpp), as a frozen network does on a GPU. A
# compiled network names only the failed call; after warm-up the cause is almost always memory.
OUT_OF_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "CUDA out of memory", "run_func_(")
# Arguments of timm.create_model that read files or ask the network, and those that are set here.
LOADING = re.compile(r"pretrained\w*|checkpoint\w*|cache_dir|scriptable|exportable|no_jit|features_only|num_classes")
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
    """A network with its weights on a device. `use` chooses the engine that runs it."""

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
        self.precision = precision
        self.calibration = None
        if calibration is not None and calibration.changes:
            pair = np.stack([calibration.scale, calibration.shift]).astype(np.float32)
            self.calibration = torch.from_numpy(pair).to(device)

    @torch.inference_mode()
    def use(
        self,
        name: EngineName,
        example: NDArray[Any],
        tolerance: float,
        source: object,
        archive: Path = Path(),
        weights_sha256: str = "",
    ) -> None:
        """Computes the logits by an engine from now on. A new model is `eager`.

        example: prepared images [N, ...]. archive: unpacked, for an engine that reads files.
        Raises LoadError where the engine does not run on this device or fails on this network, or where its scores
        differ by more than `tolerance` from those of the network as Python runs it.
        """
        engine, eager, images = ENGINES[name], self.logits, torch.from_numpy(example).to(self.device)
        if self.device.type not in engine.devices:
            where = " or ".join(engine.devices)
            raise LoadError(source, f"engine: {name}, on {self.device}, expected frozen: it runs on {where} alone")
        try:
            logits = engine.load(Plan(eager, images, self.precision, archive, weights_sha256))
            if logits is eager:
                return
            # Of one image, too: a record may hold the size of its example.
            pairs = [(self._score(logits(batch)), self._score(eager(batch))) for batch in (images, images[:1])]
            worst = max(float((scores - expected).abs().max()) for scores, expected in pairs)
        except LoadError:
            raise
        except Exception as error:  # whatever the network raises under the tracer
            reason = one_line(error)[-200:]
            raise LoadError(source, f"engine: {name}, expected eager: it needs {engine.needs}: {reason}") from None
        if not worst <= tolerance:
            raise LoadError(source, f"engine: {name}, expected eager: scores differ by {worst:.4f}")
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
        known = timm.list_models(f"*{architecture}*") or get_close_matches(architecture, timm.list_models())
        near = ", ".join(known[:3]) or "a name from timm.list_models()"
        raise LoadError(
            source, f"architecture: {architecture}, expected a name that timm {timm.__version__} knows: {near}"
        )
    if loading := sorted(key for key in model_kwargs if LOADING.fullmatch(key)):
        raise LoadError(
            source, f"model_kwargs: {loading[0]}: loads, fetches or changes the weights, expected none of it"
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
