"""Scores as Parquet: a directory of files with a row for each image. Each file's metadata says where they come from."""

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
UNKNOWN = -1  # in the column of the truth: the data doesn't say


@dataclass(frozen=True)
class Origin:
    """The model and the data that scores come from."""

    labels: list[str]
    thresholds: dict[str, float]
    calibration: dict[str, dict[str, float]] | None  # applied to the scores already; None if unknown
    model: dict[str, Any]  # name, version, sha256
    data: str  # the name of the folder or list
    data_sha256: str | None  # of the list; None for a folder
    root: str = field(compare=False)  # the folder that paths start from; differs between machines
    # In the whole folder or list; None if not counted. Not compared, since a folder may grow between two runs.
    images: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Row:
    path: str
    scores: Sequence[float] | None  # [C]; None where the image was refused
    error: str | None  # the code that the image was refused with
    truth: Sequence[int]  # [C]: 1, 0 or UNKNOWN


@dataclass(frozen=True)
class Scores:
    """The scores and the truth of all images that were classified."""

    origin: Origin
    paths: list[str]  # [N]
    scores: NDArray[np.float32]  # [N, C]
    truth: NDArray[np.int8]  # [N, C]: 1, 0 or UNKNOWN
    errors: dict[str, int]  # number of refused images by code
    sha256: str  # of all files together

    @property
    def labels(self) -> list[str]:
        return self.origin.labels

    @property
    def thresholds(self) -> NDArray[np.float64]:
        return parse_thresholds(self.origin.thresholds, self.labels, "scores")

    @property
    def calibration(self) -> Calibration:
        """Raises LoadError if it is unknown."""
        if self.origin.calibration is None:
            raise LoadError(
                "scores", "calibration: not known, expected scores of an archive, or of a server with --management"
            )
        return parse_calibration(self.origin.calibration, self.labels, "scores")

    def facts(self) -> dict[str, Any]:
        """For the records of what was fitted or measured: which scores these are."""
        return {
            "model": self.origin.model,
            "data": self.origin.data,
            "data_sha256": self.origin.data_sha256,
            "scores_sha256": self.sha256,
            "images": len(self.paths),
            "refused": self.errors,
        }


def schema(origin: Origin) -> pa.Schema:
    """Of a file, with its origin in the metadata."""
    classes = len(origin.labels)
    columns = [
        ("path", pa.string()),
        ("error", pa.string()),
        ("scores", pa.list_(pa.float32(), classes)),
        ("truth", pa.list_(pa.int8(), classes)),
    ]
    return pa.schema(columns, metadata={META: json.dumps(asdict(origin), sort_keys=True)})


def write_part(path: Path, origin: Origin, rows: Sequence[Row]) -> None:
    """Writes the file completely, or leaves none."""
    table = pa.Table.from_pylist([vars(row) for row in rows], schema(origin))
    unfinished = path.with_suffix(".unfinished")
    pq.write_table(table, unfinished)
    unfinished.replace(path)


def read_origin(path: Path) -> Origin:
    """The origin that a file was written with. Raises LoadError."""
    try:
        return Origin(**json.loads(pq.read_schema(path).metadata[META]))
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
        raise LoadError(path, "no scores, expected what scripts/score.py wrote") from None


def read_paths(files: Sequence[Path]) -> Iterator[str]:
    """The images' paths, in the order of the files and rows."""
    for file in files:
        yield from pq.read_table(file, columns=["path"])["path"].to_pylist()


def read_scores(path: Path) -> Scores:
    """Reads a directory of scores, or a single file.

    Raises LoadError if there are none, if they come from different models or data, or if a directory does not hold
    every image once.
    """
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
        counts = [other.images for other in origins if other.images is not None]
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
        errors={code["values"]: code["counts"] for code in refused},
        sha256=digests if len(files) == 1 else hashlib.sha256(digests.encode()).hexdigest(),
    )


def read_labelled(path: Path) -> Scores:
    """read_scores, but raises LoadError as well if the truth holds no positive or no negative."""
    scores = read_scores(path)
    if not (scores.truth == 1).any() or not (scores.truth == 0).any():
        raise LoadError(path, "truth: no positives or no negatives, expected data with labels")
    return scores


def joined(scores: Scores, other: Scores) -> tuple[Scores, Scores]:
    """Both restricted to the images they share, in one order. Raises LoadError if labels differ or none is shared."""
    if scores.labels != other.labels:
        raise LoadError(
            "scores", f"labels: {other.labels[:5]}…, expected {scores.labels[:5]}…: the same ones in the same order"
        )
    places = {path: place for place, path in enumerate(other.paths)}
    mine = [place for place, path in enumerate(scores.paths) if path in places]
    if not mine:
        raise LoadError("scores", "no image in common, expected scores over the same data")
    return _select(scores, mine), _select(other, [places[scores.paths[place]] for place in mine])


def _select(scores: Scores, places: Sequence[int]) -> Scores:
    paths = [scores.paths[place] for place in places]
    return Scores(scores.origin, paths, scores.scores[places], scores.truth[places], scores.errors, scores.sha256)


def _matrix(column: pa.ChunkedArray, classes: int) -> NDArray[Any]:
    """A column of lists → [N, classes]."""
    values: NDArray[Any] = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), classes)
