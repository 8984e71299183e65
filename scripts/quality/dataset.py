"""A folder of images, or a CSV, JSONL or Parquet file of paths and labels → samples, one at a time.

Truth is 1, 0, or UNKNOWN where the data doesn't say. A list of labels means that all others are absent. A column for
each label, or a mapping, leaves the labels that it doesn't name unknown.
"""

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from handler.contents import sha256
from handler.errors import LoadError, one_line
from scripts.quality.scores import UNKNOWN

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")  # of images in a folder
PATH, LABELS = "path", "labels"  # columns
SEPARATOR = "|"  # between the labels in a cell of a CSV
CELLS = {"1": 1, "0": 0, "true": 1, "false": 0, "": None}  # values in a CSV's column of a label

Row = Mapping[str, Any]
Truth = tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    path: str  # as the source has it, relative to `root` below
    truth: Truth  # [C]


def count_samples(source: Path, labels: Sequence[str]) -> int:
    """Reads all of them once, and counts. Raises LoadError, also where there are none, or where a path comes twice."""
    seen: set[int] = set()
    for number, sample in enumerate(read_samples(source, labels), 1):
        if (key := hash(sample.path)) in seen:  # or, once in 10⁷ lists of a million, another path of the same hash
            paths = islice(read_samples(source, labels), number - 1)
            first = next((place for place, other in enumerate(paths, 1) if other.path == sample.path), None)
            if first is not None:
                raise LoadError(
                    source, f"row {number}: {sample.path}: in row {first} already, expected each image once"
                )
        seen.add(key)
    if not seen:
        raise LoadError(source, "no images, expected at least one")
    return len(seen)


def data_digest(source: Path) -> str:
    """SHA-256 of a list's bytes, or of the names of a folder's images."""
    if not source.is_dir():
        return sha256(source)
    digest = hashlib.sha256()
    for path in _images(source):
        digest.update(os.fsencode(path) + b"\0")
    return digest.hexdigest()


def root(source: Path) -> Path:
    """The folder that relative paths start from."""
    return source if source.is_dir() else source.parent


def read_samples(source: Path, labels: Sequence[str]) -> Iterator[Sample]:
    """In an order that stays the same. Raises LoadError, which names the row."""
    if source.is_dir():
        yield from (Sample(path, (UNKNOWN,) * len(labels)) for path in _images(source))
        return
    readers = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
    if source.suffix not in readers:
        raise LoadError(source, f"{source.suffix or 'no suffix'}, expected a folder, .csv, .jsonl or .parquet")
    places = {name: place for place, name in enumerate(labels)}
    try:
        for number, row in enumerate(readers[source.suffix](source), 1):
            yield _sample(row, places, f"{source}: row {number}")
    except OSError as error:
        raise LoadError(source, f"can't be read ({error.strerror or error}), expected paths and labels") from None
    except (ValueError, csv.Error) as error:  # wrong UTF-8, JSON and Parquet raise kinds of ValueError
        raise LoadError(source, f"damaged: {one_line(error)[:200]}") from None


def _images(folder: Path) -> Iterator[str]:
    for directory, names, files in os.walk(folder):
        names.sort()
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES):
                yield str((Path(directory) / name).relative_to(folder))


def _csv(source: Path) -> Iterator[Row]:
    with source.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        _check_columns(source, reader.fieldnames or ())
        for number, row in enumerate(reader, 1):
            if None in row or None in row.values():
                raise LoadError(source, f"row {number}: expected as many fields as the header has")
            yield row


def _jsonl(source: Path) -> Iterator[Row]:
    with source.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line, object_pairs_hook=lambda pairs: _unique(source, pairs))


def _parquet(source: Path) -> Iterator[Row]:
    with pq.ParquetFile(source) as file:
        _check_columns(source, file.schema_arrow.names)
        for batch in file.iter_batches(1024):
            yield from batch.to_pylist()


def _check_columns(source: Path, names: Sequence[str]) -> None:
    """Raises LoadError for a name that comes twice: one column would hide the other."""
    if (twice := next((name for place, name in enumerate(names) if name in names[:place]), None)) is not None:
        raise LoadError(source, f"{twice!r}: twice, expected each column once")


def _unique(source: Path, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    _check_columns(source, [name for name, _ in pairs])
    return dict(pairs)


def _sample(row: object, places: Mapping[str, int], source: str) -> Sample:
    """places: of each label in the truth. source: what an error names."""
    path = row.get(PATH) if isinstance(row, Mapping) else None
    if not isinstance(row, Mapping) or not isinstance(path, str) or not path:
        raise LoadError(source, f"{PATH}: missing, expected the path of an image")
    values, rest = _values(row)
    if not isinstance(values, Mapping):
        raise LoadError(source, f"{LABELS}: {values!r}, expected a list of labels, or {{label: 1, 0 or null}}")
    truth = [rest] * len(places)
    for name, value in values.items():
        if name not in places:
            raise LoadError(source, f"{name!r}: not a label of this model")
        truth[places[name]] = _known_or_not(value, f"{source}: {name!r}")
    return Sample(path, tuple(truth))


def _values(row: Row) -> tuple[object, int]:
    """The value of each label that the row names, and the truth of all others."""
    if LABELS not in row:
        return {name: value for name, value in row.items() if name != PATH}, UNKNOWN
    labels = row[LABELS]
    if isinstance(labels, str):
        labels = [name for name in labels.split(SEPARATOR) if name]
    if isinstance(labels, list):
        return dict.fromkeys(labels, 1), 0
    return {} if labels is None else labels, UNKNOWN


def _known_or_not(value: object, source: str) -> int:
    """1, 0 or UNKNOWN."""
    if isinstance(value, str):
        value = CELLS.get(value.strip().lower(), value)
    if value is None:
        return UNKNOWN
    if value not in (0, 1):
        raise LoadError(source, f"{value!r}, expected 1, 0 or nothing")
    return int(value)
