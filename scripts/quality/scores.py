"""The scores and the truth of images, and where they come from. `parquet` keeps them as Parquet."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.calibration import Calibration, parse_calibration
from handler.errors import LoadError
from handler.thresholds import parse_thresholds
from scripts.quality.fitted import Images

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
            "precision": (self.origin.archive or {}).get("precision"),
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


def distinct(source: Path, scores: Scores) -> Scores:
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
