"""Scores as Parquet: a directory of files with a row for each image. Each file's metadata says where they come from."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handler.contents import sha256
from handler.errors import LoadError
from scripts.quality.fitted import Images
from scripts.quality.parts import check_complete, check_same_split, find_parts
from scripts.quality.scores import UNKNOWN, Origin, Row, Scores, distinct

META = b"multi_label_scores"


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
    scores = distinct(path, read_scores(path))
    if not (scores.truth == 1).any() or not (scores.truth == 0).any():
        raise LoadError(path, "truth: no positives or no negatives, expected data with labels")
    return scores


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
