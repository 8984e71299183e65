"""A section of a configuration file, as a dataclass: checked by the same code when an archive is built and when it is
loaded."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin

from handler.errors import LoadError

Section = TypeVar("Section")


def bounded(default: Any, low: float, high: float) -> Any:
    """A field for a number from `low` to `high`."""
    return field(default=default, metadata={"bounds": (low, high)})


def read_section(section: type[Section], values: object, source: object, prefix: str = "") -> Section:
    """Makes a settings dataclass from a mapping; raises LoadError on an unknown key, a wrong type or a value out of
    bounds."""
    if not isinstance(values, Mapping):
        raise LoadError(source, f"{prefix.rstrip('.') or 'content'}: {_show(values)}, expected a mapping")
    known = {entry.name: entry for entry in fields(section)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise LoadError(source, f"{prefix}{_show(key)}: unknown key, expected one of {', '.join(known)}")
    for key, entry in known.items():
        if key not in values and entry.default is MISSING and entry.default_factory is MISSING:
            raise LoadError(source, f"{prefix}{key}: missing, expected {_expectation(entry)}")
    return section(**{key: _check(known[key], value, source, prefix) for key, value in values.items()})


def _check(entry: "Field[Any]", value: object, source: object, prefix: str) -> Any:
    name = prefix + entry.name
    if isinstance(entry.type, type) and is_dataclass(entry.type):
        return read_section(entry.type, value, source, name + ".")
    if not _fits(entry, value):
        raise LoadError(source, f"{name}: {_show(value)}, expected {_expectation(entry)}")
    return value


def _fits(entry: "Field[Any]", value: object) -> bool:
    if value is None:
        return entry.default is None
    if "bounds" in entry.metadata:
        low, high = entry.metadata["bounds"]
        kinds = (int, float) if entry.type is float else (int,)
        return isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high
    if choices := _choices(entry):
        return value in choices
    if entry.type == dict[str, Any]:
        return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    if entry.type is bool:
        return isinstance(value, bool)
    if entry.type is str:
        return isinstance(value, str) and bool(value)
    kind = str if entry.type == list[str] else int
    return isinstance(value, list) and all(type(item) is kind for item in value)


def _choices(entry: "Field[Any]") -> tuple[str, ...]:
    for kind in (entry.type, *get_args(entry.type)):
        if get_origin(kind) is Literal:
            return get_args(kind)
    return ()


def _expectation(entry: "Field[Any]") -> str:
    if "bounds" in entry.metadata:
        low, high = entry.metadata["bounds"]
        return f"{'a number' if entry.type is float else 'an integer'} from {low} to {high}"
    if choices := _choices(entry):
        return " or ".join(choices)
    kinds: dict[Any, str] = {
        bool: "true or false",
        str: "a string",
        dict[str, Any]: "a mapping",
        list[str]: "a list of names",
    }
    return kinds.get(entry.type, "a list of integers")


def _show(value: object) -> str:
    text = str(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
