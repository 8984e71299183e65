"""Reads labels in the forms that people have them. What could lose or swap a name is refused."""

import csv
import io
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from handler.errors import LoadError, one_line
from handler.files import unreadable
from handler.labels import check_labels, labels_from_index

logger = logging.getLogger(__name__)

EXPECTED = "labels as .txt, .json, .yaml, .csv or .tsv"
# Where configurations and data sets keep labels: Hugging Face's config.json, COCO, ultralytics' data.yaml, torchvision.
KEYS = (
    "id2label",
    "label2id",
    "label_names",
    "class_names",
    "names",
    "labels",
    "classes",
    "categories",
    "class_to_idx",
)
NAMES = ("name", "label", "class_name", "label_name", "class", "labels", "names")  # columns, in lower case
INDICES = ("index", "id", "idx", "class_id", "class_index", "class_idx", "label_id")
NUMBERED = re.compile(r"(\d+)\s*[\s,;:.)]\s*\S")
ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def parse_labels(given: Any, source: object) -> tuple[str, ...]:
    """The names in the order of the model's outputs. Raises LoadError.

    given: a list of names, COCO's list of {id, name}, {index: name}, TorchServe's {index: [wnid, name]}, {name: index}
    as torchvision's class_to_idx, or a mapping with one of these under one of KEYS.
    """
    if isinstance(given, Mapping):
        inner = next((key for key in KEYS if isinstance(given.get(key), list | tuple | Mapping)), None)
        if inner is not None and not all(str(key).isdecimal() for key in given):
            return parse_labels(given[inner], f"{source}: {inner}")
        if given and all(type(value) is int for value in given.values()):
            return _in_order(((index, name) for name, index in given.items()), source)
        return _in_order(given.items(), source)
    if not isinstance(given, list | tuple):
        raise LoadError(source, "expected a list of names or a mapping of index to name")
    if given and all(isinstance(entry, Mapping) and {"id", "name"} <= entry.keys() for entry in given):
        return _in_order(((entry["id"], entry["name"]) for entry in given), source)
    return _checked(given, source)


def read_labels_file(path: Path) -> tuple[str, ...]:
    """.txt: one name per line. .json, .yaml: what `parse_labels` takes. .csv, .tsv: names, perhaps with indices.

    Raises LoadError.
    """
    text = _read(path)
    if path.suffix == ".json":
        return parse_labels(_parse_json(text, path), path)
    if path.suffix in (".yaml", ".yml"):
        return parse_labels(_parse_yaml(text, path), path)
    if path.suffix == ".txt":
        return _of_lines([line.strip() for line in text.rstrip().splitlines()], path)
    if path.suffix in (".csv", ".tsv"):
        return _of_table(text, path)
    raise LoadError(path, f"{path.suffix or 'no suffix'}, expected {EXPECTED}")


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error, EXPECTED) from None
    if (name := ENCODINGS.get(content[:2])) or b"\0" in content[:4]:
        raise LoadError(path, f"{name or 'UTF-16'}, expected UTF-8: save it with that encoding")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"byte {content[error.start]:#04x} at {error.start}"
        raise LoadError(path, f"not UTF-8 but probably Latin-1 ({what}), expected UTF-8: save it so") from None


def _parse_json(text: str, path: Path) -> Any:
    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise LoadError(path, f"{key!r}: there twice, expected once")
            seen[key] = value
        return seen

    try:
        return json.loads(text, object_pairs_hook=distinct)
    except (ValueError, RecursionError) as error:
        raise LoadError(path, f"not valid JSON: {one_line(error)}") from None


class _Distinct(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML's own reader keeps the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) != len(node.value):
            raise yaml.YAMLError(f"a key is there twice in the mapping of line {node.start_mark.line + 1}")
        return mapping


def _parse_yaml(text: str, path: Path) -> Any:
    try:
        return yaml.load(text, _Distinct)  # noqa: S506  (a SafeLoader)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise LoadError(path, f"not valid YAML: {one_line(error)}") from None


def _of_lines(lines: Sequence[str], path: Path) -> tuple[str, ...]:
    numbers = [int(found[1]) if (found := NUMBERED.match(line)) else None for line in lines]
    if len(lines) > 1 and numbers in ([*range(len(lines))], [*range(1, len(lines) + 1)]):
        raise LoadError(path, f"each line begins with its number ({lines[0]!r}), expected names alone, or a .csv")
    return _checked(lines, path)


def _of_table(text: str, path: Path) -> tuple[str, ...]:
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count) if path.suffix == ".csv" else "\t"
    try:
        # Lines end where the file's quotes say, so a line break within quotes is part of the name.
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise LoadError(path, f"not a table: {one_line(error)}") from None
    columns = {str(name).strip().lower(): name for name in (rows[0] if rows else ())}
    column = next((columns[name] for name in NAMES if name in columns), None)
    if column is None:
        raise LoadError(path, "expected a header with a column 'name' or 'label'")
    for number, row in enumerate(rows, 2):
        if row[column] is None or None in row:
            raise LoadError(path, f"line {number}: not as many fields as the header has, expected {len(columns)}")
    index = next((columns[name] for name in INDICES if name in columns), None)
    if index is not None:
        return _in_order(((row[index].strip(), row[column]) for row in rows), path)
    return _checked([row[column] for row in rows], path)


def _in_order(pairs: Iterable[tuple[Any, Any]], source: object) -> tuple[str, ...]:
    """(index, name), … → the names in order. An index from 1 is read with a word."""
    names: dict[int, Any] = {}
    for index, name in pairs:
        if not str(index).isdecimal():
            raise LoadError(source, f"{index!r}: expected an index, a whole number from 0")
        if int(index) in names:
            raise LoadError(source, f"index {index}: of {names[int(index)]!r} and of {name!r}, expected one name")
        # TorchServe's ImageNet file has [wnid, name].
        names[int(index)] = name[1] if isinstance(name, list | tuple) and len(name) == 2 else name
    if names and 0 not in names and set(names) == set(range(1, len(names) + 1)):
        logger.warning("warning: %s: the index begins with 1, read as the outputs 0 to %d", source, len(names) - 1)
        names = {index - 1: name for index, name in names.items()}
    return _checked(labels_from_index(names, source), source)


def _checked(names: Sequence[Any], source: object) -> tuple[str, ...]:
    labels = check_labels(names, source)
    odd = [label for label in labels if "\u00a0" in label]
    if odd:
        logger.warning("warning: %s: %r has a no-break space, which clients must send so", source, odd[0])
    return labels
