"""Scores as Parquet: a directory of files with a row for each image. Each file's metadata says where they come from."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
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
from scripts.quality.fitted import Images
from scripts.quality.parts import check_complete, check_same_split, find_parts

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
    data_sha256: str  # of the list, or of the names of a folder's images
    root: str = field(compare=False)  # the folder that paths start from; differs between machines
    fit: dict[str, Any] | None = None  # which images the archive's calibration was fitted on, and how; None if unknown
    archive: dict[str, Any] | None = None  # its contents' hash, precision, engine and decoding; None if unknown
    images: int | None = None  # in the whole folder or list; None if not counted
    shards: int = 1  # that the data was split into

    def difference(self, other: "Origin") -> str:
        """What differs, in words; empty if nothing does."""
        mine, others = asdict(self), asdict(other)
        names = [each.name for each in fields(self) if each.compare and mine[each.name] != others[each.name]]
        if "archive" in names and mine["archive"] and others["archive"]:
            keys = mine["archive"].keys() | others["archive"].keys()
            changed = sorted(key for key in keys if mine["archive"].get(key) != others["archive"].get(key))
            names[names.index("archive")] = " and ".join(changed)
        return ", ".join(names)


@dataclass(frozen=True)
class Row:
    path: str
    scores: Sequence[float] | None  # [C]; None where the image was refused
    error: str | None  # the code that the image was refused with
    truth: Sequence[int]  # [C]: 1, 0 or UNKNOWN
    image: bytes | None  # SHA-256 of the file; None where it can't be read


@dataclass(frozen=True)
class Scores:
    """The scores and the truth of all images that were classified."""

    origin: Origin
    paths: list[str]  # [N]
    scores: NDArray[np.float32]  # [N, C]
    truth: NDArray[np.int8]  # [N, C]: 1, 0 or UNKNOWN
    images: Images  # [N]
    errors: dict[str, int]  # number of refused images by code
    sha256: str  # of all files together
    copies: int = 0  # rows left out, whose image was in another row already

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
            "copies": self.copies,
            "refused": self.errors,
            "unknown": round(self.unknown, 6),
        }

    @property
    def unknown(self) -> float:
        """The share of the truth that the data doesn't tell."""
        return float((self.truth == UNKNOWN).mean())

    @property
    def cautions(self) -> list[str]:
        """What one must know to read any figure of these scores."""
        lines = []
        if self.errors:
            codes = ", ".join(f"{count} {code}" for code, count in sorted(self.errors.items()))
            lines.append(f"{sum(self.errors.values())} images were refused and aren't counted: {codes}")
        if self.copies:
            lines.append(f"{self.copies} rows are copies of other rows' images, and aren't counted")
        if self.unknown:
            lines.append(
                f"{100 * self.unknown:.3g} % of the truth is not known: exact match looks better than it is, and so "
                "does precision where absent labels are the unknown ones"
            )
        return [f"caution  {line}" for line in lines]

    def only(self, places: Sequence[int] | NDArray[np.intp]) -> "Scores":
        """Some of the rows, in this order."""
        paths = [self.paths[place] for place in places]
        return replace(
            self, paths=paths, scores=self.scores[places], truth=self.truth[places], images=self.images[places]
        )


def schema(origin: Origin) -> pa.Schema:
    """Of a file, with its origin in the metadata."""
    classes = len(origin.labels)
    columns = [
        ("path", pa.string()),
        ("error", pa.string()),
        ("scores", pa.list_(pa.float32(), classes)),
        ("truth", pa.list_(pa.int8(), classes)),
        ("image", pa.binary(32)),
    ]
    return pa.schema(columns, metadata={META: json.dumps(asdict(origin), sort_keys=True)})


def write_part(path: Path, origin: Origin, rows: Sequence[Row]) -> None:
    """Writes the file completely, or leaves none."""
    table = pa.Table.from_pylist([vars(row) for row in rows], schema(origin))
    unfinished = path.with_suffix(f".unfinished-{os.getpid()}")  # its own, should another scorer write the same part
    try:
        pq.write_table(table, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_origin(path: Path) -> Origin:
    """The origin that a file was written with. Raises LoadError."""
    try:
        return Origin(**json.loads(pq.read_schema(path).metadata[META]))
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
        raise LoadError(path, "no scores, expected what scripts/score.py wrote") from None


def read_images(files: Sequence[Path]) -> Iterator[tuple[str, bytes | None]]:
    """The images' paths and hashes, in the order of the files and rows."""
    for file in files:
        table = pq.read_table(file, columns=["path", "image"])
        yield from zip(table["path"].to_pylist(), table["image"].to_pylist(), strict=True)


def read_scores(path: Path) -> Scores:
    """Reads a directory of scores, or a single file.

    Raises LoadError if there are none, if they come from different models or data, or if a directory does not hold
    every image once.
    """
    parts = find_parts(path) if path.is_dir() else []
    files = [part.path for part in parts] if path.is_dir() else [path]
    if not files:
        raise LoadError(path, "no *.parquet, expected what scripts/score.py wrote")
    if parts:
        check_same_split(parts, parts[0].shard[1])
    origins = [read_origin(file) for file in files]
    origin = origins[0]
    for file, other in zip(files, origins, strict=True):
        if other != origin:
            differs = origin.difference(other)
            raise LoadError(file, f"of another model or other data than {files[0].name} ({differs}), expected the same")
    if parts:
        check_complete(path, parts, origin.images)
    table = pa.concat_tables([pq.read_table(file) for file in files])
    if "image" not in table.column_names:
        raise LoadError(path, "image: missing, expected the hash of each image: score again with this version")
    refused = table.filter(table["error"].is_valid())["error"].value_counts().to_pylist()
    table = table.filter(table["scores"].is_valid())
    if not table:
        raise LoadError(path, "no image was classified, expected scores")
    digests = "".join(sha256(file) for file in files)
    paths = table["path"].to_pylist()
    scores = _matrix(table["scores"], len(origin.labels)).astype(np.float32)
    truth = _matrix(table["truth"], len(origin.labels)).astype(np.int8)
    _check_rows(path, paths, scores, truth)
    return Scores(
        origin=origin,
        paths=paths,
        scores=scores,
        truth=truth,
        images=_hashes(table["image"]),
        errors={code["values"]: code["counts"] for code in refused},
        sha256=digests if len(files) == 1 else hashlib.sha256(digests.encode()).hexdigest(),
    )


def read_labelled(path: Path) -> Scores:
    """read_scores, with each image once. LoadError also without positives or negatives, or where copies disagree."""
    scores = _distinct(path, read_scores(path))
    if not (scores.truth == 1).any() or not (scores.truth == 0).any():
        raise LoadError(path, "truth: no positives or no negatives, expected data with labels")
    return scores


def joined(scores: Scores, other: Scores) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The places of the images that both have, in one order.

    Raises LoadError if labels differ, if no image is shared, if a path names different images, or if the truth differs.
    """
    if scores.labels != other.labels:
        raise LoadError(
            "scores", f"labels: {other.labels[:5]}…, expected {scores.labels[:5]}…: the same ones in the same order"
        )
    others = dict(zip(other.paths, other.images, strict=True))
    for path, image in zip(scores.paths, scores.images, strict=True):
        if others.get(path, image) != image:
            raise LoadError("scores", f"{path}: another image in the other version's data, expected the same data")
    _, mine, theirs = np.intersect1d(scores.images, other.images, assume_unique=True, return_indices=True)
    if not len(mine):
        raise LoadError("scores", "no image in common, expected scores over the same data")
    order = np.argsort(mine)
    mine, theirs = mine[order], theirs[order]
    first, second = scores.truth[mine], other.truth[theirs]
    contradictory = (first != second) & (first != UNKNOWN) & (second != UNKNOWN)
    if len(places := np.argwhere(contradictory)):
        image, label = places[0]
        raise LoadError(
            "scores",
            f"truth: {len(places)} labels differ between the two versions' data, as {scores.labels[label]!r} of "
            f"{scores.paths[mine[image]]} does; expected scores of the same data",
        )
    return mine, theirs


def _distinct(source: Path, scores: Scores) -> Scores:
    """Each image once, by its first row: copies would narrow the intervals, and be fitted on and judged at once."""
    _, first, place = np.unique(scores.images, return_index=True, return_inverse=True)
    if len(first) == len(scores.images):
        return scores
    for row, original in enumerate(first[place]):
        mine, others = scores.truth[row], scores.truth[original]
        if ((mine != others) & (mine != UNKNOWN) & (others != UNKNOWN)).any():
            names = f"{scores.paths[original]} and {scores.paths[row]}"
            raise LoadError(source, f"{names} are the same image with different truth, expected one truth")
    return replace(scores.only(np.sort(first)), copies=len(scores.images) - len(first))


def _check_rows(source: Path, paths: Sequence[str], scores: NDArray[np.float32], truth: NDArray[np.int8]) -> None:
    """Raises LoadError for a path that comes twice, and for scores and truth that can't be."""
    if len(set(paths)) < len(paths):
        [(twice, _)] = Counter(paths).most_common(1)
        raise LoadError(source, f"{twice}: scored twice, expected each image once: use a new --output for scores")
    wrong = ~((scores >= 0) & (scores <= 1)).all(axis=1)  # NaN as well
    if wrong.any():
        row = int(np.argmax(wrong))
        raise LoadError(source, f"{paths[row]}: a score of {scores[row].tolist()}, expected numbers from 0 to 1")
    if not np.isin(truth, (0, 1, UNKNOWN)).all():
        raise LoadError(source, f"truth: {sorted(set(truth.ravel().tolist()))}, expected 1, 0 or {UNKNOWN}")


def _hashes(column: pa.ChunkedArray) -> Images:
    whole = np.frombuffer(b"".join(column.to_pylist()), np.uint8).reshape(-1, 32)
    return np.ascontiguousarray(whole[:, :8]).view(">u8").ravel().astype(np.uint64)


def _matrix(column: pa.ChunkedArray, classes: int) -> NDArray[Any]:
    """A column of lists → [N, classes]."""
    values: NDArray[Any] = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(column), classes)
