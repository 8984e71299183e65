"""A folder of images, or a CSV, JSONL or Parquet of paths and labels → samples, one by one, however many there are.

Truth is 1, 0, or UNKNOWN where nobody has said. A list of labels says that all others are absent; a column for each
label, or a mapping, says nothing of what it leaves out.
"""

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from handler.errors import LoadError
from scripts.quality.scores import UNKNOWN

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")  # of images in a folder
PATH, LABELS = "path", "labels"
SEPARATOR = "|"  # between the labels of a CSV's column
SAID = {"1": 1, "0": 0, "true": 1, "false": 0, "": None}  # in a CSV

Truth = tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    path: str  # as the source has it, relative to `root` below
    truth: Truth  # [C]


def root(source: Path) -> Path:
    """What relative paths are relative to."""
    return source if source.is_dir() else source.parent


def read_samples(source: Path, labels: Sequence[str]) -> Iterator[Sample]:
    """In an order that stays. Raises LoadError, which names the row."""
    if source.is_dir():
        yield from (Sample(path, (UNKNOWN,) * len(labels)) for path in _images(source))
        return
    readers = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
    if source.suffix not in readers:
        raise LoadError(source, f"{source.suffix or 'no suffix'}, expected a folder, .csv, .jsonl or .parquet")
    index = {name: place for place, name in enumerate(labels)}
    try:
        for number, row in enumerate(readers[source.suffix](source), 1):
            yield _sample(row, index, f"{source}: row {number}")
    except OSError as error:
        raise LoadError(source, f"can't be read ({error.strerror or error}), expected paths and labels") from None
    except ValueError as error:  # UTF-8's, JSON's and Arrow's
        raise LoadError(source, f"damaged: {' '.join(str(error).split())[:200]}") from None


def _images(folder: Path) -> Iterator[str]:
    for directory, names, files in os.walk(folder):
        names.sort()
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES):
                yield str((Path(directory) / name).relative_to(folder))


def _csv(source: Path) -> Iterator[Mapping[str, Any]]:
    with source.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file, strict=True):
            if None in row or None in row.values():
                raise LoadError(source, f"row {row}: expected as many fields as the header has")
            yield row


def _jsonl(source: Path) -> Iterator[Mapping[str, Any]]:
    with source.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _parquet(source: Path) -> Iterator[Mapping[str, Any]]:
    with pq.ParquetFile(source) as file:
        for batch in file.iter_batches(1024):
            yield from batch.to_pylist()


def _sample(row: object, index: Mapping[str, int], place: str) -> Sample:
    path = row.get(PATH) if isinstance(row, Mapping) else None
    if not isinstance(row, Mapping) or not isinstance(path, str) or not path:
        raise LoadError(place, f"{PATH}: missing, expected the path of an image")
    if LABELS in row:
        given = row[LABELS]
        if isinstance(given, str):
            given = [name for name in given.split(SEPARATOR) if name]
        said = dict.fromkeys(given, 1) if isinstance(given, list) else given
        rest = 0 if isinstance(given, list) else UNKNOWN
    else:
        said, rest = {name: value for name, value in row.items() if name != PATH}, UNKNOWN
    return Sample(path, _truth({} if said is None else said, rest, index, place))


def _truth(said: object, rest: int, index: Mapping[str, int], place: str) -> Truth:
    if not isinstance(said, Mapping):
        raise LoadError(place, f"{LABELS}: {said!r}, expected a list of labels, or {{label: 1, 0 or null}}")
    truth = [rest] * len(index)
    for name, value in said.items():
        if name not in index:
            raise LoadError(place, f"{name!r}: no label of this model")
        value = SAID.get(value.strip().lower(), value) if isinstance(value, str) else value
        if value not in (0, 1, None):
            raise LoadError(place, f"{name!r}: {value!r}, expected 1, 0 or nothing")
        truth[index[name]] = UNKNOWN if value is None else int(value)
    return tuple(truth)
