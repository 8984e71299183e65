"""Reads what a trainer saved: all tensors in it, and what else it says of the model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from handler.errors import LoadError, one_line
from handler.files import read_json, read_yaml
from scripts.archive.facts import Facts, find_facts, holds_tensors
from scripts.archive.unpickling import entries_of, saving, unpickle

DEPTH = 4  # of mappings in which weights are looked for
# What a folder of weights may hold, in the order in which it is looked for; `save_pretrained` of timm, transformers and
# accelerate write the first and second pair, the latter two with an index where there are several files.
INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
WHOLES = ("model.safetensors", "pytorch_model.bin", "timm_model.bin")
EXPECTED = "a checkpoint (.pt, .pth, .ckpt, .bin or .safetensors), or a folder with model.safetensors or an index"


@dataclass(frozen=True)
class Checkpoint:
    entries: Mapping[str, Mapping[str, torch.Tensor]]  # each mapping with tensors, by its keys joined with dots
    facts: Facts = field(default_factory=Facts)
    unread: tuple[str, ...] = ()  # the classes of objects that were not built


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a file, a folder of the Hugging Face hub, or an index of parts. Raises LoadError."""
    if path.is_dir():
        path = _of_folder(path)
    if not path.is_file():
        raise LoadError(path, f"missing, expected {EXPECTED}")
    said: dict[str, Any] = {}
    unread: list[str] = []
    content: Any
    if path.name.endswith(".index.json"):
        content = _read_parts(path)
    elif path.suffix == ".safetensors":
        content, said = _read_safetensors(path)
    else:
        content, unread = unpickle(path)
    held = entries_of(content)
    if held is None:
        raise LoadError(path, f"holds a {type(content).__name__}, expected a state_dict or a mapping that has one")
    entries = dict(_find_tensors(content, "", DEPTH))
    if not entries:
        raise LoadError(path, _without_tensors(held, path))
    # In a state_dict at the top, a buffer named `threshold` or `mean` says nothing.
    plain = {key: value for key, value in held.items() if not (holds_tensors(held) and isinstance(value, torch.Tensor))}
    facts = find_facts(plain | said, _beside(path))
    return Checkpoint(entries, facts, tuple(unread))


def _of_folder(folder: Path) -> Path:
    for name in (*INDICES, *WHOLES):
        if (folder / name).is_file():
            return folder / name
    if any(folder.glob("*/*_model_states.pt")) or (folder / "zero_to_fp32.py").is_file():
        raise LoadError(folder, "shards of DeepSpeed; first run: python zero_to_fp32.py . pytorch_model.bin")
    raise LoadError(folder, f"a folder without {', '.join((*INDICES, *WHOLES))}; expected {EXPECTED}")


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors, and the texts in the file's header, which may hold JSON."""
    try:
        with safe_open(path, framework="pt") as file:
            texts = file.metadata() or {}
        return load_file(path), {key: _parsed(text) for key, text in texts.items()}
    except (SafetensorError, OSError) as error:
        raise LoadError(path, f"not a safetensors file: {one_line(error)}") from None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _read_parts(index: Path) -> dict[str, torch.Tensor]:
    """The tensors of all parts that an index names, and no more and no fewer than it names."""
    content = read_json(index, "an index of parts")
    parts = content.get("weight_map") if isinstance(content, Mapping) else None
    if not isinstance(parts, Mapping) or not all(isinstance(part, str) for part in parts.values()):
        raise LoadError(index, "weight_map: missing, expected {tensor: file}, as accelerate and transformers write it")
    tensors: dict[str, torch.Tensor] = {}
    for name in sorted(set(parts.values())):
        part = index.parent / name
        if Path(name).name != name:
            raise LoadError(index, f"weight_map: {name}: leads elsewhere, expected files beside the index")
        if not part.is_file():
            raise LoadError(part, f"missing, expected this part of {index.name}")
        held = _read_safetensors(part)[0] if part.suffix == ".safetensors" else unpickle(part)[0]
        tensors |= {key: value for key, value in held.items() if parts.get(key) == name}
    if absent := [key for key in parts if key not in tensors]:
        raise LoadError(index, f"{absent[0]}: not in {parts[absent[0]]}, expected it there ({len(absent)} missing)")
    return tensors


def _beside(path: Path) -> dict[str, Any]:
    """config.json of a hub folder, or args.yaml as timm's train.py writes it beside its checkpoints."""
    config, args = path.with_name("config.json"), path.with_name("args.yaml")
    if path.name in (*INDICES, *WHOLES) and config.is_file():
        said = read_json(config, "the model's configuration")
    elif path.name.endswith(".pth.tar") and args.is_file():
        said = read_yaml(args, "the arguments of timm's train.py")
    else:
        return {}
    return dict(said) if isinstance(said, Mapping) else {}


def _find_tensors(content: Any, place: str, depth: int) -> list[tuple[str, dict[str, torch.Tensor]]]:
    entries = entries_of(content) or {}
    tensors = {key: value for key, value in entries.items() if isinstance(value, torch.Tensor) and isinstance(key, str)}
    found = [(place, tensors)] if tensors else []
    if depth:
        for key, value in entries.items():
            if isinstance(key, str) and entries_of(value):
                found += _find_tensors(value, f"{place}.{key}".lstrip("."), depth - 1)
    return found


def _without_tensors(content: Mapping[Any, Any], path: Path) -> str:
    for key, value in content.items():
        if getattr(value, "is_module", False):
            return f"{key}: a whole network, a pickled {value.name}; {saving(path)}"
    names = [str(name) for name in content]
    return f"no state_dict: no tensors at the top or under {', '.join(names[:8])}{', …' * (len(names) > 8)}"
