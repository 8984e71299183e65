"""Reads what torch.save wrote. No other module reads pickles, and no code of a file's own classes is ever run.

torch's `weights_only` reader builds tensors and plain values. For every class that the file names, NumPy's too, an
inert stand-in takes its place, which keeps what was saved of the object and is never called again.
"""

import codecs
import pickle
import re
import sys
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch

from handler.errors import LoadError, one_line
from scripts.archive.arrays import STAND_INS, Array

# torch maps names to classes from 2.6 on; before, a file with NumPy's or other classes is refused. TorchVersion
# compares numbers, not text.
MAPS = torch.__version__ >= "2.6"
ALLOWED: list[Any] = [codecs.encode, *STAND_INS] if MAPS else [codecs.encode]  # bytes are pickled by codecs.encode
LARGEST = 1 << 16  # numbers of a tensor that can be a setting
# What a file may name of Python's own library: data, and types. Anything else there, such as `setattr` or `os.system`,
# has no place in a checkpoint and stops the build, though a stand-in would do no harm.
LIBRARY = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|functools\.partial|collections\.\w+|pathlib\.[\w.]+|datetime\.\w+|"
    r"enum\.\w+|uuid\.\w+|decimal\.\w+|fractions\.\w+|zoneinfo\.[\w.]+|time\.struct_time|copyreg\._reconstructor|"
    r"builtins\.(?:bool|bytes|complex|dict|float|frozenset|int|list|object|range|set|slice|str|tuple|type)"
)
LFS, ONNX = b"version https://git-lfs", b"\x08"


class Unread:
    """Stands for an object of a class that is not built: what was saved of it, and nothing of what it did."""

    name: ClassVar[str] = ""

    state: Any
    items: dict[Any, Any]

    def __new__(cls, *_: Any) -> "Unread":  # pickle may call it without __init__
        made = object.__new__(cls)
        made.state, made.items = {}, {}
        return made

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    @property
    def entries(self) -> dict[Any, Any]:
        """Of a mapping its items, of any other object its attributes."""
        states = self.state if isinstance(self.state, tuple) else (self.state,)  # attributes, and those in slots
        attributes = {key: value for state in states if isinstance(state, Mapping) for key, value in state.items()}
        if self.name.startswith("omegaconf."):  # hydra's containers and their nodes
            content = attributes.get("_content")
            return dict(content) if isinstance(content, Mapping) else {}
        return {**attributes, **self.items}

    @property
    def is_module(self) -> bool:
        return isinstance(self.state, Mapping) and {"_modules", "_parameters"} <= self.state.keys()


def entries_of(value: Any) -> Mapping[Any, Any] | None:
    """What a mapping or an object holds, or None for anything else. A network is none: its weights are no settings."""
    if isinstance(value, Unread):
        return None if value.is_module else value.entries
    return value if isinstance(value, Mapping) else None


def plain(value: Any, depth: int = 8) -> Any:
    """The same with arrays and tensors as lists and numbers. What lies deeper, or holds itself, becomes None."""
    if depth == 0:
        return None
    if isinstance(value, torch.Tensor):
        return value.tolist() if value.numel() <= LARGEST and not value.is_meta else None
    if isinstance(value, Array):
        return plain(value.value, depth)
    if isinstance(value, Unread) and value.name.startswith("omegaconf."):
        state = value.state if isinstance(value.state, Mapping) else {}
        return plain(state.get("_content", state.get("_val")), depth)
    if isinstance(value, Mapping):
        return {_key(key): plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth - 1) for item in value]
    return value


def _key(key: Any) -> Any:
    """A key that any reader can look up, whatever it was."""
    plain_key = plain(key)
    return plain_key if isinstance(plain_key, str | int | float | bool | None) else str(plain_key)


def unpickle(path: Path) -> tuple[Any, list[str]]:
    """What the file holds, and the names of the classes of which it holds objects. Raises LoadError."""
    _refuse_others(path)
    named = _globals(path)
    for name in named:
        if name.split(".")[0] in sys.stdlib_module_names and not LIBRARY.fullmatch(name):
            expected = "tensors and plain values: save a state_dict"
            raise LoadError(path, f"holds a Python object, {name}; expected {expected}")
    try:
        with _safe([*ALLOWED, *(_stand_in(name) for name in named)]), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of newer pickle protocols, which torch reads all the same
            # Mapped, so that an optimizer's state costs no memory.
            content = torch.load(str(path), map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        forbidden = re.search(r"GLOBAL (\S+)", str(error))
        what = f"holds a Python object, {forbidden[1]}" if forbidden else f"can't be read: {one_line(error)[-200:]}"
        raise LoadError(path, f"{what}; expected tensors and plain values: {saving(path)}") from None
    except Exception as error:  # whatever a broken pickle leads to
        raise LoadError(path, f"not a torch checkpoint: {one_line(error)[:200] or type(error).__name__}") from None
    if isinstance(content, Unread) and content.is_module:
        raise LoadError(path, f"holds a whole network, a pickled {content.name}; {saving(path)}")
    return content, named


def saving(path: Path, load: str = "torch.load({}, weights_only=False)") -> str:
    """The three lines of Python that save the weights alone."""
    lines = ("import torch", f"model = {load.format(repr(path.name))}", "torch.save(model.state_dict(), 'weights.pt')")
    return f"where it was trained, run: {'; '.join(lines)}"


def _refuse_others(path: Path) -> None:
    """Files that people take for a checkpoint, by how they begin."""
    with path.open("rb") as file:
        start = file.read(200)
    kind = None
    if not start:
        kind = "empty"
    elif start.startswith(LFS):
        kind = "a pointer of Git LFS, not the file itself: run git lfs pull"
    elif start.lstrip()[:1] == b"<":
        kind = "HTML or XML, perhaps the page of a failed download"
    elif start.startswith(ONNX) and b"onnx" in start.lower() + path.suffix.encode():
        kind = "ONNX"
    elif start.startswith(b"\x89HDF"):
        kind = "HDF5, as Keras saves weights"
    if kind:
        raise LoadError(path, f"{kind}; expected a checkpoint that torch.save or safetensors wrote")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            names = [name.split("/", 1)[-1] for name in file.namelist()]
        if "constants.pkl" in names:
            raise LoadError(path, f"holds a TorchScript program; {saving(path, 'torch.jit.load({})')}")
        if "data.pkl" not in names:
            raise LoadError(path, "a zip file without data.pkl; expected a checkpoint that torch.save wrote")


def _globals(path: Path) -> list[str]:
    """The classes and functions that the file names beside those that torch and ALLOWED have."""
    if not (MAPS and zipfile.is_zipfile(path)):
        return []
    try:
        with _safe(ALLOWED):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # reading it says what is wrong with it
        return []


def _safe(classes: list[Any]) -> AbstractContextManager[None]:
    if MAPS:
        return torch.serialization.safe_globals(classes)
    torch.serialization.add_safe_globals(classes)
    return nullcontext()


def _stand_in(name: str) -> tuple[Any, str]:
    if name == "collections.defaultdict":
        return _as_dict, name
    if name == "collections.deque":
        return _as_list, name
    return type(name.rsplit(".", 1)[-1], (Unread,), {"name": name}), name


def _as_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _as_list(items: Sequence[Any] = (), *_: Any) -> list[Any]:
    return list(items)
