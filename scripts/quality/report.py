"""The report as one HTML file, which opens offline and on a phone, without scripts."""

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
from scripts.quality.comparison import Comparison
from scripts.quality.evaluation import Version
from scripts.quality.intervals import Interval
from scripts.quality.measures import OVERALL, Array, Decisions
from scripts.quality.scores import UNKNOWN, Scores

HERE = Path(__file__).parent
TILES = ("micro_f1", "map", "exact_match", "calibration_error")
MAX_CURVES = 12  # labels with their own figures
MAX_SQUARE = 15  # labels in a heatmap
THUMBNAIL = 320  # pixels of the longer side


def write_report(
    path: Path,
    scores: Scores,
    versions: Sequence[Version],
    comparison: Comparison | None,
    images: Path | None,
    pictures: int,
    facts: dict[str, Any],
) -> None:
    """The report is about the last version. images: the folder of the pictures, if they have moved since scoring."""
    version, truth = versions[-1], scores.truth
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"interval": _interval, "number": _number}
    curves = _most_in_error(version)
    square = _most_frequent(version.decisions)
    names = [scores.labels[label] for label in square]
    page = environment.get_template("report.html").render(
        facts=facts,
        model=scores.origin.model,
        versions=versions,
        version=version,
        overall=OVERALL,
        tiles=[(*OVERALL[name], version.measured[name][0]) for name in TILES],
        comparison=comparison,
        changes=_changes(comparison, scores.labels) if comparison else [],
        labels=_rows(scores, version),
        curves=[_curves(scores, version, label) for label in curves],
        more=int((truth == 1).any(axis=0).sum()) - len(curves),
        reliability=figures.calibration([(each.name, each.decisions.scores, truth) for each in versions]),
        together=figures.heatmap(_together(truth, square), names, "have this one, too", "of images with this label"),
        confusion=figures.heatmap(
            _confusion(version.decisions, square), names, "are given this one wrongly", "of images with this label"
        ),
        left_out=len(scores.labels) - len(square),
        worst=_worst(scores, version, images or Path(scores.origin.root), pictures),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _rows(scores: Scores, version: Version) -> list[dict[str, Any]]:
    """A row for each label, those with the most images first."""
    rows = []
    for label, name in enumerate(scores.labels):
        measured = {key: version.measured[key][label] for key in ("precision", "recall", "f1", "average_precision")}
        images = int((scores.truth[:, label] == 1).sum())
        rows.append({"name": name, "images": images, "threshold": version.thresholds[label], **measured})
    return sorted(rows, key=lambda row: -int(row["images"]))


def _curves(scores: Scores, version: Version, label: int) -> dict[str, Any]:
    decisions, truth = version.decisions, scores.truth[:, label]
    return {
        "name": scores.labels[label],
        "f1": version.measured["f1"][label],
        "curve": figures.precision_recall(decisions.scores[:, label], truth, decisions.fired[:, label]),
        "distribution": figures.distribution(decisions.scores[:, label], truth, float(version.thresholds[label])),
    }


def _most_in_error(version: Version) -> list[int]:
    """Labels that some image has, those with the most wrong decisions first."""
    truth = version.decisions.truth
    wrong = ((version.decisions.fired != (truth == 1)) & (truth != UNKNOWN)).sum(axis=0)
    present = np.flatnonzero((truth == 1).any(axis=0))
    return [int(label) for label in present[np.argsort(-wrong[present], kind="stable")][:MAX_CURVES]]


def _most_frequent(decisions: Decisions) -> list[int]:
    """Labels that images have, or are given, most often, in the order of the classifier."""
    count = ((decisions.truth == 1) | decisions.fired).sum(axis=0)
    return sorted(int(label) for label in np.argsort(-count, kind="stable")[:MAX_SQUARE] if count[label])


def _together(truth: NDArray[np.int8], labels: list[int]) -> Array:
    """[row, column]: of the images with the label of the row, the share that has the label of the column."""
    positive = (truth[:, labels] == 1).astype(np.float64)
    return _share(positive.T @ positive, positive.sum(axis=0))


def _confusion(decisions: Decisions, labels: list[int]) -> Array:
    """[row, column]: of the images with the label of the row, the share that is wrongly given that of the column."""
    positive = (decisions.truth[:, labels] == 1).astype(np.float64)
    alarms = (decisions.fired & (decisions.truth == 0))[:, labels].astype(np.float64)
    return _share(positive.T @ alarms, positive.sum(axis=0))


def _share(part: Array, whole: Array) -> Array:
    share: Array = np.divide(part, whole[:, None], out=np.full(part.shape, np.nan), where=whole[:, None] > 0)
    return share


def _changes(comparison: Comparison, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Labels for which only one of the two versions is right on some images, those with the most such images first."""
    truth = comparison.second.decisions.truth
    known = truth != UNKNOWN
    before, after = (version.decisions.fired == (truth == 1) for version in (comparison.first, comparison.second))
    mended, broken = (known & after & ~before).sum(axis=0), (known & before & ~after).sum(axis=0)
    order = np.argsort(-(mended + broken), kind="stable")
    return [
        {"name": labels[label], "mended": int(mended[label]), "broken": int(broken[label])}
        for label in order
        if mended[label] + broken[label]
    ]


def _worst(scores: Scores, version: Version, root: Path, pictures: int) -> list[dict[str, Any]]:
    """The images whose wrong decisions had the most confident scores."""
    decisions = version.decisions
    positive = decisions.truth == 1
    wrong = (decisions.fired != positive) & (decisions.truth != UNKNOWN)
    surprise = np.where(wrong, np.abs(decisions.scores - positive), 0)
    order = np.argsort(-surprise.max(axis=1), kind="stable")[:pictures]
    return [
        {
            "path": scores.paths[image],
            "picture": _thumbnail(root / scores.paths[image]),
            "truth": [scores.labels[label] for label in np.flatnonzero(positive[image])],
            "wrong": [
                {
                    "name": scores.labels[label],
                    "missed": positive[image, label],
                    "score": decisions.scores[image, label],
                }
                for label in np.argsort(-surprise[image], kind="stable")
                if wrong[image, label]
            ],
        }
        for image in order
        if wrong[image].any()
    ]


def _thumbnail(path: Path) -> str | None:
    """None where the file is gone, or isn't an image."""
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
    if interval.value != interval.value:
        return ""
    return "no interval" if interval.low != interval.low else f"{interval.low:.3f} to {interval.high:.3f}"
