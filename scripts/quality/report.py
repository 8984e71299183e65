"""The page for those who decide: one HTML file that opens offline, on a phone too, without a script."""

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from handler.decode import decode
from handler.errors import ItemError
from handler.settings import Limits
from scripts.quality import figures
from scripts.quality.bootstrap import Interval
from scripts.quality.evaluation import Comparison, Version
from scripts.quality.measures import OVERALL, Array, Decided
from scripts.quality.scores import UNKNOWN, Scores

HERE = Path(__file__).parent
TILES = ("micro_f1", "map", "exact_match", "calibration_error")
CURVES = 12  # labels with figures of their own, at the most
SQUARE = 15  # labels in a square, at the most
THUMBNAIL = 320  # pixels


def write_report(
    path: Path,
    scores: Scores,
    versions: Sequence[Version],
    comparison: Comparison | None,
    images: Path | None,
    pictures: int,
    of: dict[str, Any],
) -> None:
    """The last version is the one it is about. images: where the pictures are, if not where they were scored."""
    version, truth = versions[-1], scores.truth
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"interval": _interval, "number": _number}
    chosen = _most_in_error(version)
    square = _most_frequent(version.decided)
    names = [scores.labels[label] for label in square]
    page = environment.get_template("report.html").render(
        of=of,
        model=scores.origin.model,
        versions=versions,
        version=version,
        overall=OVERALL,
        tiles=[(*OVERALL[name], version.measured[name][0]) for name in TILES],
        comparison=comparison,
        changes=_changes(comparison, scores.labels) if comparison else [],
        labels=_rows(scores, version),
        curves=[_curves(scores, version, label) for label in chosen],
        more=int((truth == 1).any(axis=0).sum()) - len(chosen),
        reliability=figures.calibration([(each.name, each.decided.scores, truth) for each in versions]),
        together=figures.heat(_together(truth, square), names, "have this one, too", "of images with this label"),
        confusion=figures.heat(
            _confusion(version.decided, square), names, "are given this one wrongly", "of images with this label"
        ),
        left_out=len(scores.labels) - len(square),
        worst=_worst(scores, version, images or Path(scores.origin.root), pictures),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _rows(scores: Scores, version: Version) -> list[dict[str, Any]]:
    """Of each label, those with the most images first."""
    rows = []
    for label, name in enumerate(scores.labels):
        measured = {key: version.measured[key][label] for key in ("precision", "recall", "f1", "average_precision")}
        images = int((scores.truth[:, label] == 1).sum())
        rows.append({"name": name, "images": images, "threshold": version.thresholds[label], **measured})
    return sorted(rows, key=lambda row: -int(row["images"]))


def _curves(scores: Scores, version: Version, label: int) -> dict[str, Any]:
    decided, truth = version.decided, scores.truth[:, label]
    return {
        "name": scores.labels[label],
        "f1": version.measured["f1"][label],
        "curve": figures.precision_recall(decided.scores[:, label], truth, decided.fired[:, label]),
        "distribution": figures.distribution(decided.scores[:, label], truth, float(version.thresholds[label])),
    }


def _most_in_error(version: Version) -> list[int]:
    """The labels that images have, the most wrong decisions first."""
    truth = version.decided.truth
    wrong = ((version.decided.fired != (truth == 1)) & (truth != UNKNOWN)).sum(axis=0)
    there = np.flatnonzero((truth == 1).any(axis=0))
    return [int(label) for label in there[np.argsort(-wrong[there], kind="stable")][:CURVES]]


def _most_frequent(decided: Decided) -> list[int]:
    """Those that images have, or are given, most often, in the labels' own order."""
    count = ((decided.truth == 1) | decided.fired).sum(axis=0)
    return sorted(int(label) for label in np.argsort(-count, kind="stable")[:SQUARE] if count[label])


def _together(truth: NDArray[np.int8], labels: list[int]) -> Array:
    """[row, column]: of the images that have the row's label, the share that has the column's, too."""
    there = (truth[:, labels] == 1).astype(np.float64)
    return _share(there.T @ there, there.sum(axis=0))


def _confusion(decided: Decided, labels: list[int]) -> Array:
    """[row, column]: of the images that have the row's label, the share that is given the column's wrongly."""
    there = (decided.truth[:, labels] == 1).astype(np.float64)
    alarms = (decided.fired & (decided.truth == 0))[:, labels].astype(np.float64)
    return _share(there.T @ alarms, there.sum(axis=0))


def _share(part: Array, whole: Array) -> Array:
    found: Array = np.divide(part, whole[:, None], out=np.full(part.shape, np.nan), where=whole[:, None] > 0)
    return found


def _changes(comparison: Comparison, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Labels with decisions that one has right and the other wrong, the most of them first."""
    truth = comparison.second.decided.truth
    known = truth != UNKNOWN
    right = [each.decided.fired == (truth == 1) for each in (comparison.first, comparison.second)]
    mended, broken = ((known & one & ~other).sum(axis=0) for one, other in (right[::-1], right))
    order = np.argsort(-(mended + broken), kind="stable")
    return [
        {"name": labels[label], "mended": int(mended[label]), "broken": int(broken[label])}
        for label in order
        if mended[label] + broken[label]
    ]


def _worst(scores: Scores, version: Version, root: Path, pictures: int) -> list[dict[str, Any]]:
    """The images with the wrong decision that the classifier was surest of."""
    decided = version.decided
    there = decided.truth == 1
    wrong = (decided.fired != there) & (decided.truth != UNKNOWN)
    surprise = np.where(wrong, np.abs(decided.scores - there), 0)
    order = np.argsort(-surprise.max(axis=1), kind="stable")[:pictures]
    return [
        {
            "path": scores.paths[image],
            "picture": _thumbnail(root / scores.paths[image]),
            "truth": [scores.labels[label] for label in np.flatnonzero(there[image])],
            "wrong": [
                {"name": scores.labels[label], "missed": there[image, label], "score": decided.scores[image, label]}
                for label in np.argsort(-surprise[image], kind="stable")
                if wrong[image, label]
            ],
        }
        for image in order
        if wrong[image].any()
    ]


def _thumbnail(path: Path) -> str | None:
    """None where it is no longer there, or no image."""
    try:
        image = Image.fromarray(decode(path.read_bytes(), Limits()))
    except (OSError, ItemError):
        return None
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.3f}"


def _interval(interval: Interval) -> str:
    return "" if interval.low != interval.low else f"{interval.low:.3f} to {interval.high:.3f}"
