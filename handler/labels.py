"""The names of the classes, in the order of the model's outputs."""

from collections.abc import Sequence
from pathlib import Path

from handler.errors import LoadError
from handler.files import read_json

LABELS_FILE = "index_to_name.json"
# What Python counts as not printable, and names have: a no-break space, and what joins letters and emoji.
JOINERS = dict.fromkeys(map(ord, "\u00a0\u200c\u200d"))
EXPECTED = '{"0": name, "1": name, …}'


def read_labels(directory: Path) -> tuple[str, ...]:
    """Reads TorchServe's index_to_name.json, {"0": name, …}."""
    path = directory / LABELS_FILE
    return labels_from_index(read_json(path, EXPECTED), path)


def labels_from_index(mapping: object, source: object) -> tuple[str, ...]:
    """{"0": name, …} → the names in order. Raises LoadError on a gap."""
    if not isinstance(mapping, dict) or not mapping:
        raise LoadError(source, f"expected {EXPECTED}")
    names = {str(index): name for index, name in mapping.items()}
    expected = [str(index) for index in range(len(names))]
    if set(names) != set(expected):
        missing = next(index for index in expected if index not in names)
        raise LoadError(source, f"{missing}: missing, expected the keys 0 to {len(names) - 1} without a gap")
    return check_labels([names[index] for index in expected], source)


def check_labels(names: Sequence[object], source: object) -> tuple[str, ...]:
    """Raises LoadError unless the names are distinct, printable strings."""
    if not names:
        raise LoadError(source, "no labels, expected at least one")
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name.strip() or not name.translate(JOINERS).isprintable():
            raise LoadError(source, f"label {index}: {name!r}, expected a non-empty printable string")
        if name in seen:
            raise LoadError(
                source, f"label {index}: {name!r} again, expected distinct names (it is label {seen[name]})"
            )
        seen[name] = index
    return tuple(seen)
