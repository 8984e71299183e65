"""Finds the weights of a network whose last layer training replaced by a head of its own.

A single linear layer, behind dropout or beside a backbone, is the architecture's own last layer under another name. Of
a head with more layers the weights don't tell what stands between them: `handler.head` has to.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from handler.errors import LoadError
from handler.head import ACTIVATIONS, attach_head, classifier_name
from scripts.archive.weights import HARMLESS, Candidate, Tensors, Weights, candidates_of, check_numbers, rank

EXAMPLE = "handler: {head: [linear, relu, dropout, linear]} in a recipe"


def find_head(
    entries: Mapping[str, Tensors], network: torch.nn.Module, key: str | None, layers: Sequence[str], source: Path
) -> Weights | None:
    """The tensors of the network, of which the last layer is replaced if there are `layers`.

    None where the rest of the network does not fit, or where there is no head. Raises LoadError where there is one that
    is not understood.
    """
    name = classifier_name(network)
    if name is None:
        return None
    body = {key: tensor for key, tensor in network.state_dict().items() if not key.startswith(f"{name}.")}
    shapes = {key: tensor.shape for key, tensor in body.items()}
    fitting = [one for one in candidates_of(entries, shapes, key) if not (one.missing or one.misshapen)]
    for candidate in sorted(fitting, key=rank):
        head, place = _head_of(candidate, entries[candidate.entry], name)
        if head:
            break
    else:
        return None
    own = network.get_submodule(name)
    assert isinstance(own, torch.nn.Linear)
    named = _named(head, own, layers, place, source)
    tensors = {f"{name}.{key}": tensor for key, tensor in named.items()}
    if layers:
        attach_head(network, layers, tensors, source)
    elif own.bias is not None and f"{name}.bias" not in tensors:
        tensors[f"{name}.bias"] = torch.zeros(own.out_features)
    tensors |= {key: candidate.tensors.get(key, tensor) for key, tensor in body.items()}
    check_numbers(tensors, source)
    return Weights(tensors, f"{candidate.place or 'the top'}, its head from {place}", (), ())


def _head_of(candidate: Candidate, tensors: Tensors, name: str) -> tuple[dict[str, torch.Tensor], str]:
    """The head's tensors by their names in it, and its place: in the network, or beside a backbone."""
    inside = {key: tensor for key, tensor in candidate.tensors.items() if key in candidate.extra}
    if inside.keys() <= {f"{name}.weight", f"{name}.bias"} and inside:
        return {}, ""  # the architecture's own
    if inside:
        head = {key.removeprefix(f"{name}."): tensor for key, tensor in inside.items()}
        return (head, f"{candidate.prefix}{name}") if all(key.startswith(f"{name}.") for key in inside) else ({}, "")
    parent = candidate.prefix.rstrip(".").rpartition(".")[0]
    start = f"{parent}." if parent else ""
    beside: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        if candidate.prefix and key.startswith(start) and not key.startswith(candidate.prefix):
            module, _, inner = key.removeprefix(start).partition(".")
            if inner and not HARMLESS.search(key):
                beside.setdefault(module, {})[inner] = tensor
    heads = {module: head for module, head in beside.items() if any(tensor.dim() == 2 for tensor in head.values())}
    if len(heads) != 1:
        return {}, ""
    [(module, head)] = heads.items()
    return head, start + module


def _named(
    head: Mapping[str, torch.Tensor], own: torch.nn.Linear, layers: Sequence[str], place: str, source: Path
) -> dict[str, torch.Tensor]:
    """The head's tensors as the layers have them: by place and kind, or without a place for a single layer."""
    modules: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in head.items():
        module, _, kind = key.rpartition(".")
        modules.setdefault(module, {})[kind] = tensor
    found = ", ".join(f"{key} {list(tensor.shape)}" for key, tensor in head.items() if tensor.dim() > 0)
    if not layers:
        [(_, single), *more] = modules.items()
        if not more and single.get("weight", torch.empty(0)).shape == own.weight.shape:
            return single
        if not more and single.get("weight", torch.empty(0)).shape[1:] == own.weight.shape[1:]:
            rows = single["weight"].shape[0]
            raise LoadError(source, f"{own.out_features} labels, expected {rows}: the rows of {place}")
        expected = f"what stands between them too, as {EXAMPLE}"
        raise LoadError(source, f"{place}: a head of its own with {found}; expected {expected}")
    places = [index for index, kind in enumerate(layers) if kind not in ACTIVATIONS]
    names = [str(index) for index in places]
    numbered = all(module.isdecimal() for module in modules)
    if len(modules) != len(places) or (numbered and [*modules] != names):
        raise LoadError(source, f"{place}: has {found}; expected its layers, place by place, in handler.head: {layers}")
    return {
        f"{index}.{kind}": tensor
        for index, module in zip(places, modules.values(), strict=True)
        for kind, tensor in module.items()
    }
