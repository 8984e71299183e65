"""timm + safetensors on a device: [N, 3, H, W] float32 → scores [N, C] float32."""

from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from handler.contents import WEIGHTS_FILE
from handler.errors import LoadError

# torch's CPU allocator raises a bare RuntimeError (c10/core/impl/alloc_cpu.cpp).
CPU_OUT_OF_MEMORY = "DefaultCPUAllocator: can't allocate memory"


class Model:
    """A network with its weights. Scores are independent probabilities: a sigmoid for each class."""

    def __init__(self, network: torch.nn.Module, device: torch.device) -> None:
        self.network = network.to(device).eval()
        self.device = device

    @torch.inference_mode()
    def scores(self, images: torch.Tensor) -> NDArray[np.float32]:
        """[N, 3, H, W] float32 → [N, C] float32 in 0 to 1. Raises MemoryError where the device has too little."""
        try:
            logits = self.network(images.to(self.device))
            return np.asarray(torch.sigmoid(logits.float()).cpu().numpy(), dtype=np.float32)
        except torch.cuda.OutOfMemoryError as error:
            raise MemoryError(str(error)) from None
        except RuntimeError as error:
            if CPU_OUT_OF_MEMORY in str(error):
                raise MemoryError(str(error)) from None
            raise

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
        raise LoadError(
            source, f"model_kwargs: {model_kwargs}, refused by timm: {' '.join(str(error).split())}"
        ) from None
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
