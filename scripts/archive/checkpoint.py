"""Reads a training checkpoint: its tensors, and what else it holds of the model. No other module reads pickles."""

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

# Entries in which trainers keep the weights; averaged ones come first, as in timm.
WEIGHT_KEYS = ("state_dict_ema", "state_dict", "model_state_dict", "model")
# Prefixes that torch.compile and DataParallel add to the names.
WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+")
# The classes and functions in pickled NumPy arrays and numbers. NumPy 1 had other names for the functions, which torch
# can map from 2.6 on.
MAKERS: tuple[Any, ...] = (np.asarray(0).__reduce__()[0], np.float64(0).__reduce__()[0])
NUMPY: list[Any] = [
    *(np.ndarray, np.dtype, codecs.encode, *MAKERS),
    *(type(np.dtype(kind)) for kind in ("bool", "int32", "int64", "float32", "float64", "str")),
]
if torch.__version__ >= "2.6":  # TorchVersion compares numbers, not text
    NUMPY += [(maker, f"numpy.{core}.multiarray.{maker.__name__}") for maker in MAKERS for core in ("_core", "core")]


@dataclass(frozen=True)
class Checkpoint:
    tensors: dict[str, torch.Tensor]
    key: str | None  # the entry with the tensors; None if the file is the state_dict itself
    architecture: str | None = None
    labels: Any = None
    thresholds: Any = None
    image_size: Any = None


def read_checkpoint(path: Path, key: str | None = None) -> Checkpoint:
    """Reads .pt, .pth or .safetensors.

    key: the entry with the weights; by default the first of WEIGHT_KEYS that is there. Raises LoadError.
    """
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
    used = next((name for name in keys if isinstance(content.get(name), Mapping)), None)
    if key and used is None:
        raise LoadError(path, f"{key}: no state_dict there, the file has {_names(content)}")
    tensors = content[used] if used else content
    if not tensors or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise LoadError(
            path, f"no state_dict: expected one at the top or under {', '.join(keys)}; it has {_names(content)}"
        )
    if meta := [name for name, tensor in tensors.items() if tensor.is_meta]:
        raise LoadError(path, f"{meta[0]}: on the meta device, which holds no numbers; expected the trained weights")
    values = _plain_values(content) if used else {}
    return Checkpoint(
        _unwrap(tensors),
        used,
        architecture=_first(values, str, "architecture", "arch", "model_name", "model"),
        labels=_first(values, list | tuple | dict, "class_names", "labels", "classes"),
        thresholds=_first(values, float | list | tuple | dict, "thresholds", "threshold"),
        # A single `input_size` is as often the number of features.
        image_size=_first(values, object, "image_size", "img_size") or _first(values, list | tuple, "input_size"),
    )


def _unpickle(path: Path) -> Any:
    # timm's trainer saves its command line as a Namespace, others save thresholds and metrics as NumPy numbers. These
    # are plain data and run no code.
    torch.serialization.add_safe_globals([argparse.Namespace, *NUMPY])
    try:
        with warnings.catch_warnings():  # torch warns of newer pickle protocols, which it reads all the same
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        forbidden = re.search(r"GLOBAL (\S+)", str(error))
        what = f"holds a Python object, {forbidden[1]}" if forbidden else "can't be read as tensors"
        raise LoadError(path, f"{what}; expected tensors and plain values only: save a state_dict") from None
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise LoadError(path, f"not a torch checkpoint: {one_line(error)[:200]}") from None


def _plain_values(content: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the checkpoint, of its config and of its args, without state_dicts. The first of these wins."""
    values: dict[str, Any] = {}
    for part in (content.get("args"), content.get("config"), content):
        entries = vars(part) if isinstance(part, argparse.Namespace) else part
        if isinstance(entries, Mapping):
            values |= {name: value for name, value in entries.items() if not _is_state_dict(value)}
    return values


def _is_state_dict(value: Any) -> bool:
    """A `model` may hold the weights, or the architecture's name."""
    return isinstance(value, Mapping) and any(isinstance(item, torch.Tensor) for item in value.values())


def _first(values: Mapping[str, Any], kind: Any, *names: str) -> Any:
    """The first of these values that is of the kind, with arrays as lists."""
    for name in names:
        value = values.get(name)
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
