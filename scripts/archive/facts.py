"""What a file says of its model beside the weights: architecture, labels, thresholds, image size and transform.

Trainers spell these in many ways and at many depths: the entry nearest to the top wins, and of one depth the order of
CONTAINERS and of the spellings decides.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import timm
import torch

from handler.pillow import INTERPOLATION_NAMES
from scripts.archive.unpickling import entries_of, plain

ARCHITECTURE = (
    *("architecture", "arch", "model_name", "backbone", "backbone_name", "encoder", "encoder_name", "timm_model"),
    *("timm_name", "net", "network", "model", "name"),
)
LABELS = (
    *("class_names", "labels", "classes", "label_names", "label_list", "class_to_idx", "idx_to_class", "id2label"),
    *("label2id", "categories", "target_names", "names"),
)
THRESHOLDS = ("thresholds", "threshold", "best_thresholds", "optimal_thresholds", "class_thresholds", "best_threshold")
IMAGE_SIZE = ("image_size", "img_size", "imgsz")
# Arguments of timm's transform (timm.data.resolve_data_config), which its trainer and its config.json have by these
# names. `input_size` is an image size only if it has sides: a single number is as often that of features.
TRANSFORM = ("mean", "std", "interpolation", "crop_pct", "crop_mode")
CONTAINERS = ("hyper_parameters", "hparams", "config", "cfg", "args", "opt", "model", "pretrained_cfg")
NOT_OF_THE_MODEL = re.compile(r"optim|sched|callback|loops?$|scaler|early|history|random|rng|state_dict", re.I)
DEPTH = 5
HUB = re.compile(r"^(?:hf[_-]hub:)?(?:timm/)?")
CROPS = ("center", "squash", "border")


@dataclass(frozen=True)
class Facts:
    """What is not said is None or empty. `where` has the place of each thing that is, such as `config.img_size`."""

    architecture: str | None = None
    labels: Any = None
    thresholds: Any = None
    image_size: Any = None
    transform: Mapping[str, Any] = field(default_factory=dict)  # some of TRANSFORM
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)  # further arguments of timm.create_model
    where: Mapping[str, str] = field(default_factory=dict)


def find_facts(content: Mapping[Any, Any], beside: Mapping[str, Any] | None = None) -> Facts:
    """content: of the file; beside: of a config.json or args.yaml in its directory, which comes after."""
    levels = [level for part in (content, beside or {}) for level in _levels(part)]
    where: dict[str, str] = {}

    def first(what: str, names: Sequence[str], fits: Callable[[Any], bool]) -> Any:
        for place, entries in levels:
            for name in names:
                if name in entries and fits(value := plain(entries[name])):
                    where[what] = ".".join((*place, name))
                    return value
        return None

    def known(value: Any) -> bool:
        return isinstance(value, str) and timm.is_model(architecture_name(value))

    # A `model` or a `name` may be anything; the others are taken even if timm does not know them, and refused by name.
    name = first("architecture", ARCHITECTURE, known) or first("architecture", ARCHITECTURE[:3], _is_name)
    transform = {key: first(key, (key,), TRANSFORMS[key]) for key in TRANSFORM}
    size = first("image_size", IMAGE_SIZE, lambda value: value is not None)
    size = first("image_size", ("input_size",), lambda value: isinstance(value, list)) if size is None else size
    kwargs = first("model_kwargs", ("model_kwargs", "model_args"), lambda value: isinstance(value, dict)) or {}
    for argument, names in {"global_pool": ("global_pool", "gp"), "in_chans": ("in_chans",)}.items():
        value = first(argument, names, lambda value: isinstance(value, str | int) and bool(value))
        if value is not None and value != 3:
            kwargs = {argument: value, **kwargs}
    return Facts(
        architecture=None if name is None else architecture_name(name),
        labels=first("labels", LABELS, _are_labels),
        thresholds=first("thresholds", THRESHOLDS, lambda value: isinstance(value, float | list | dict)),
        image_size=size,
        transform={key: value for key, value in transform.items() if value is not None},
        model_kwargs=kwargs,
        where=where,
    )


def architecture_name(name: str) -> str:
    """timm's own name of what is written as on the Hugging Face hub: hf_hub:timm/NAME.TAG is NAME.TAG."""
    return HUB.sub("", name)


def _levels(content: Mapping[Any, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """The mappings in `content` that may describe the model, from the top down, with the keys that lead there."""
    level: list[tuple[tuple[str, ...], Mapping[Any, Any]]] = [((), content)]
    for _ in range(DEPTH):
        yield from level
        inner = []
        for place, entries in level:
            for key in sorted(entries, key=_order):
                held = entries_of(entries[key])
                if held and isinstance(key, str) and not NOT_OF_THE_MODEL.search(key) and not holds_tensors(held):
                    inner.append(((*place, key), held))
        level = inner


def holds_tensors(entries: Mapping[Any, Any]) -> bool:
    """Whether it is a state_dict: a `model` may hold the weights, or the architecture's name."""
    tensors = [key for key, value in entries.items() if isinstance(value, torch.Tensor)]
    return len(tensors) > len(entries) / 2 and any("." in str(key) for key in tensors)


def _order(key: Any) -> int:
    return CONTAINERS.index(key) if key in CONTAINERS else len(CONTAINERS)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _are_labels(value: Any) -> bool:
    """A list or a mapping with some text in it. The true labels of some data, numbers, are none."""
    items = [*value, *value.values()] if isinstance(value, dict) else value
    return isinstance(value, list | dict) and any(isinstance(item, str | dict) for item in items)


def _is_triple(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(number, int | float) for number in value)


TRANSFORMS: Mapping[str, Callable[[Any], bool]] = {
    "mean": _is_triple,
    "std": _is_triple,
    "interpolation": lambda value: value in INTERPOLATION_NAMES,
    "crop_pct": lambda value: isinstance(value, int | float) and 0 < value <= 1,
    "crop_mode": lambda value: value in CROPS,
}
