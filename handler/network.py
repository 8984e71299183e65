"""timm + safetensors: the network as Python runs it. The only module that imports timm, which takes seconds."""

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from handler.contents import WEIGHTS_FILE
from handler.errors import LoadError, one_line
from handler.head import attach_head
from handler.settings import Settings

# Arguments of timm.create_model that read files or ask the network, and those that are set here.
LOADING = re.compile(r"pretrained\w*|checkpoint\w*|cache_dir|scriptable|exportable|no_jit|features_only|num_classes")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Forward(torch.nn.Module):
    """Prepared images → logits [N, C] float32."""

    def __init__(self, network: torch.nn.Module, normalise: torch.nn.Module, precision: str = "float32") -> None:
        super().__init__()
        self.normalise = normalise
        self.network = network
        self.dtype = DTYPES[precision]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        normalised = self.normalise(images).contiguous(memory_format=torch.channels_last)
        # Not the whole network in `dtype`: where rounding hurts, autocast keeps float32, at the same speed.
        reduced = self.dtype != torch.float32
        with torch.autocast(images.device.type, self.dtype if reduced else None, reduced, cache_enabled=False):
            logits: torch.Tensor = self.network(normalised)
        return logits.float()

    def on(self, device: torch.device) -> "Forward":
        """Ready to classify there."""
        return self.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]


def load_network(
    directory: Path, settings: Settings, classes: int, normalise: torch.nn.Module, device: torch.device, source: object
) -> Forward:
    """That of an unpacked archive, ready to classify. Raises LoadError. source: what names the settings."""
    network = create_network(settings.architecture, classes, settings.model_kwargs, source)
    tensors = read_weights(directory)
    if settings.head:
        attach_head(network, settings.head, tensors, source)
    load_weights(network, tensors, directory / WEIGHTS_FILE)
    return Forward(network, normalise, settings.precision).on(device)


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
