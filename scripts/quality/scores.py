"""Scores as Parquet: a directory of files, a row an image, with what they were made by in each file's metadata."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handler.calibration import Calibration, parse_calibration
from handler.contents import sha256
from handler.errors import LoadError
from handler.thresholds import parse_thresholds
from scripts.quality.parts import check_complete, find_parts

META = b"multi_label_scores"
UNKNOWN = -1  # in the column of the truth: nobody has said


@dataclass(frozen=True)
class Origin:
    """What the scores were made by, and of."""

    labels: list[str]
    thresholds: dict[str, float]
    calibration: dict[str, dict[str, float]] | None  # that is in the scores already; None where it isn't known
    model: dict[str, Any]  # name, version, sha256
    data: str  # the name of the folder or list
    data_sha256: str | None  # of the list; None for a folder
    root: str = field(compare=False)  # what paths are relative to: elsewhere on another machine
    # In the whole folder or list. None where they weren't counted. A folder may grow between two runs.
    images: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Row:
    path: str
    scores: Sequence[float] | None  # [C]; None where `error` is the code that the image was refused with
    error: str | None
    truth: Sequence[int]  # [C]: 1, 0 or UNKNOWN


@dataclass(frozen=True)
class Scores:
    """Of the images that were classified."""

    origin: Origin
    paths: list[str]  # [N]
    scores: NDArray[np.float32]  # [N, C]
    truth: NDArray[np.int8]  # [N, C]: 1, 0 or UNKNOWN
    errors: dict[str, int]  # how many images were refused, by code
    sha256: str  # of all files

    @property
    def labels(self) -> list[str]:
        return self.origin.labels

    @property
    def thresholds(self) -> NDArray[np.float64]:
        return parse_thresholds(self.origin.thresholds, self.labels, "scores")

    @property
    def calibration(self) -> Calibration:
        """Raises LoadError where it isn't known."""
        if self.origin.calibration is None:
            raise LoadError(
                "scores", "calibration: not known, expected scores of an archive, or of a server with --management"
            )
        return parse_calibration(self.origin.calibration, self.labels, "scores")

    def facts(self) -> dict[str, Any]:
        """Which they are, for the record of what is measured on them."""
        return {
            "model": self.origin.model,
            "data": self.origin.data,
            "data_sha256": self.origin.data_sha256,
            "scores_sha256": self.sha256,
            "images": len(self.paths),
            "refused": self.errors,
        }


def schema(origin: Origin) -> pa.Schema:
    classes = len(origin.labels)
    columns = [
        ("path", pa.string()),
        ("error", pa.string()),
        ("scores", pa.list_(pa.float32(), classes)),
        ("truth", pa.list_(pa.int8(), classes)),
    ]
    return pa.schema(columns, metadata={META: json.dumps(asdict(origin), sort_keys=True)})


def write_part(path: Path, origin: Origin, rows: Sequence[Row]) -> None:
    """Whole or not at all."""
    table = pa.Table.from_pylist([vars(row) for row in rows], schema(origin))
    unfinished = path.with_suffix(".unfinished")
    pq.write_table(table, unfinished)
    unfinished.replace(path)


def read_origin(path: Path) -> Origin:
    """Of one file. Raises LoadError."""
    try:
        return Origin(**json.loads(pq.read_schema(path).metadata[META]))
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
        raise LoadError(path, "no scores, expected what scripts/score.py wrote") from None


def read_paths(files: Sequence[Path]) -> Iterator[str]:
    for file in files:
        yield from pq.read_table(file, columns=["path"])["path"].to_pylist()


def read_scores(path: Path) -> Scores:
    """Reads a directory of scores, or one file of it. Raises LoadError if there are none, or of several makers."""
    parts = find_parts(path) if path.is_dir() else []
    files = [part.path for part in parts] if path.is_dir() else [path]
    if not files:
        raise LoadError(path, "no *.parquet, expected what scripts/score.py wrote")
    origins = [read_origin(file) for file in files]
    origin = origins[0]
    for file, other in zip(files, origins, strict=True):
        if other != origin:
            raise LoadError(file, f"of another model or other data than {files[0].name}, expected the same")
    if parts:
        counts = [each.images for each in origins if each.images is not None]
        check_complete(path, parts, max(counts, default=None))
    table = pa.concat_tables([pq.read_table(file) for file in files])
    refused = table.filter(table["error"].is_valid())["error"].value_counts().to_pylist()
    table = table.filter(table["scores"].is_valid())
    if not table:
        raise LoadError(path, "no image was classified, expected scores")
    digests = "".join(sha256(file) for file in files)
    return Scores(
        origin=origin,
        paths=table["path"].to_pylist(),
        scores=_matrix(table["scores"], len(origin.labels)).astype(np.float32),
        truth=_matrix(table["truth"], len(origin.labels)).astype(np.int8),
        errors={each["values"]: each["counts"] for each in refused},
        sha256=digests if len(files) == 1 else hashlib.sha256(digests.encode()).hexdigest(),
    )


def read_labelled(path: Path) -> Scores:
    """The same. Raises LoadError where no label is known to be there, or none not to be."""
    scores = read_scores(path)
    if not (scores.truth == 1).any() or not (scores.truth == 0).any():
        raise LoadError(path, "no label that an image has, and one that it hasn't, expected data with labels")
    return scores


def joined(scores: Scores, other: Scores) -> tuple[Scores, Scores]:
    """Both with the images that both have, in one order. Raises LoadError if labels differ or nothing is shared."""
    if scores.labels != other.labels:
        raise LoadError("scores", f"labels: {other.labels[:5]}…, expected the same as the other's, in the same order")
    places = {path: place for place, path in enumerate(other.paths)}
    mine = [place for place, path in enumerate(scores.paths) if path in places]
    if not mine:
        raise LoadError("scores", "no image in common, expected scores over the same data")
    return _rows(scores, mine), _rows(other, [places[scores.paths[place]] for place in mine])


def _rows(scores: Scores, places: Sequence[int]) -> Scores:
    paths = [scores.paths[place] for place in places]
    return Scores(scores.origin, paths, scores.scores[places], scores.truth[places], scores.errors, scores.sha256)


def _matrix(column: pa.ChunkedArray, classes: int) -> NDArray[Any]:
    values: NDArray[Any] = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), classes)
