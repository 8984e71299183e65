"""A training checkpoint → its tensors, and what it says about the model. The only place that reads pickles."""

import argparse
import codecs
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from handler.errors import LoadError, one_line

# Where trainers put the weights; averaged ones first, as timm does.
WEIGHT_KEYS = ("state_dict_ema", "state_dict", "model_state_dict", "model")
# What torch.compile and DataParallel put before each name.
WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+")
# What NumPy's arrays and numbers are pickled as; NumPy 1's functions had other names, which torch 2.6 can be told.
MAKERS: tuple[Any, ...] = (np.asarray(0).__reduce__()[0], np.float64(0).__reduce__()[0])
NUMPY: list[Any] = [
    *(np.ndarray, np.dtype, codecs.encode, *MAKERS),
    *(type(np.dtype(kind)) for kind in ("bool", "int32", "int64", "float32", "float64", "str")),
]
if torch.__version__ >= "2.6":  # by its numbers, not as text
    NUMPY += [(maker, f"numpy.{core}.multiarray.{maker.__name__}") for maker in MAKERS for core in ("_core", "core")]


@dataclass(frozen=True)
class Checkpoint:
    tensors: dict[str, torch.Tensor]
    key: str | None  # the entry that held the tensors; None if the file is the state_dict itself
    architecture: str | None = None
    labels: Any = None
    thresholds: Any = None
    image_size: Any = None


def read_checkpoint(path: Path, key: str | None = None) -> Checkpoint:
    """Reads .pt, .pth or .safetensors; `key` picks an entry, or else the first of WEIGHT_KEYS. Raises LoadError."""
    if not path.is_file():
        raise LoadError(path, "missing, expected a checkpoint (.pt, .pth or .safetensors)")
    if path.suffix == ".safetensors":
        try:
            return Checkpoint(_unwrap(load_file(path)), None)
        except SafetensorError as error:
            raise LoadError(path, f"not a safetensors file: {error}") from None
    content = _unpickle(path)
    if not isinstance(content, Mapping):
        raise LoadError(path, f"holds a {type(content).__name__}, expected a state_dict or a mapping that has one")
    keys = (key,) if key else WEIGHT_KEYS
    found = next((each for each in keys if isinstance(content.get(each), Mapping)), None)
    if key and found is None:
        raise LoadError(path, f"{key}: no state_dict there, the file has {_names(content)}")
    tensors = content[found] if found else content
    if not tensors or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise LoadError(
            path, f"no state_dict: expected one at the top or under {', '.join(keys)}; it has {_names(content)}"
        )
    if meta := [name for name, tensor in tensors.items() if tensor.is_meta]:
        raise LoadError(path, f"{meta[0]}: on the meta device, which holds no numbers; expected the trained weights")
    said = _said(content) if found else {}
    return Checkpoint(
        _unwrap(tensors),
        found,
        architecture=_first(said, str, "architecture", "arch", "model_name", "model"),
        labels=_first(said, list | tuple | dict, "class_names", "labels", "classes"),
        thresholds=_first(said, float | list | tuple | dict, "thresholds", "threshold"),
        image_size=_first(said, object, "image_size", "img_size", "input_size"),
    )


def _unpickle(path: Path) -> Any:
    # timm's trainer keeps its command line as a Namespace, and others their thresholds and metrics as NumPy's numbers:
    # plain records, which run nothing.
    torch.serialization.add_safe_globals([argparse.Namespace, *NUMPY])
    try:
        with warnings.catch_warnings():  # a newer pickle protocol is no fault of the file
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        forbidden = re.search(r"GLOBAL (\S+)", str(error))
        what = f"holds a Python object, {forbidden[1]}" if forbidden else "can't be read as tensors"
        raise LoadError(path, f"{what}; expected tensors and plain values alone: save a state_dict") from None
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise LoadError(path, f"not a torch checkpoint: {one_line(error)[:200]}") from None


def _said(content: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint's plain entries, and those of its config or args."""
    said: dict[str, Any] = {}
    for nested in (content.get("args"), content.get("config"), content):
        values = vars(nested) if isinstance(nested, argparse.Namespace) else nested
        if isinstance(values, Mapping):
            said |= {name: value for name, value in values.items() if not _is_state_dict(value)}
    return said


def _is_state_dict(value: Any) -> bool:
    """So that a `model` that is the weights isn't taken for the architecture's name."""
    return isinstance(value, Mapping) and any(isinstance(one, torch.Tensor) for one in value.values())


def _first(said: Mapping[str, Any], kind: Any, *names: str) -> Any:
    for name in names:
        value = said.get(name)
        if isinstance(value, torch.Tensor | np.ndarray | np.generic):
            value = value.tolist()
        if value is not None and isinstance(value, kind):
            return value
    return None


def _unwrap(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {WRAPPERS.sub("", name): tensor for name, tensor in tensors.items()}


def _names(content: Mapping[Any, Any]) -> str:
    names = [str(name) for name in content]
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
