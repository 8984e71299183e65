"""A head of several layers in the place of an architecture's last one, as `handler.head` names them in order."""

from collections.abc import Callable, Mapping, Sequence

import torch

from handler.errors import LoadError

ACTIVATIONS: Mapping[str, Callable[[], torch.nn.Module]] = {
    "relu": torch.nn.ReLU,
    "gelu": torch.nn.GELU,
    "silu": torch.nn.SiLU,
    "tanh": torch.nn.Tanh,
    "leaky_relu": torch.nn.LeakyReLU,
    "hardswish": torch.nn.Hardswish,
    "dropout": torch.nn.Identity,  # which it is in evaluation
    "identity": torch.nn.Identity,
}
WEIGHTED: Mapping[str, Callable[[torch.Tensor, bool], torch.nn.Module]] = {
    "linear": lambda weight, bias: torch.nn.Linear(weight.shape[1], weight.shape[0], bias),
    "batch_norm": lambda weight, _: torch.nn.BatchNorm1d(weight.shape[0]),
    "layer_norm": lambda weight, _: torch.nn.LayerNorm(weight.shape[0]),
}
DIMENSIONS = {"linear": 2, "batch_norm": 1, "layer_norm": 1}  # of the weight
KNOWN = (*WEIGHTED, *ACTIVATIONS)


def classifier_name(network: torch.nn.Module) -> str | None:
    """timm's name of the last layer, where it is a single linear one."""
    name = getattr(network, "pretrained_cfg", {}).get("classifier")
    if not isinstance(name, str):
        return None
    try:
        return name if isinstance(network.get_submodule(name), torch.nn.Linear) else None
    except AttributeError:
        return None


def attach_head(
    network: torch.nn.Module, layers: Sequence[str], tensors: Mapping[str, torch.Tensor], source: object
) -> None:
    """Puts the layers in the place of the network's last one; their shapes are those of the tensors, which are named
    CLASSIFIER.PLACE.weight. Raises LoadError."""
    name = classifier_name(network)
    if name is None:
        raise LoadError(source, "head: the architecture's last layer is not a single linear one, expected no head")
    made = [_layer(kind, f"{name}.{place}", tensors, source) for place, kind in enumerate(layers)]
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, torch.nn.Sequential(*made))


def _layer(kind: str, name: str, tensors: Mapping[str, torch.Tensor], source: object) -> torch.nn.Module:
    if kind in ACTIVATIONS:
        return ACTIVATIONS[kind]()
    if kind not in WEIGHTED:
        raise LoadError(source, f"head: {kind}, expected one of {', '.join(KNOWN)}")
    weight = tensors.get(f"{name}.weight")
    if weight is None or weight.dim() != DIMENSIONS[kind]:
        shape = "no weight" if weight is None else f"a weight of shape {list(weight.shape)}"
        raise LoadError(source, f"head: {kind}: {name} has {shape}, expected one of {DIMENSIONS[kind]} dimensions")
    return WEIGHTED[kind](weight, f"{name}.bias" in tensors)
