#!/usr/bin/env python3
"""Fits a calibration and a threshold for each label to scores and labels, and writes a file for build_archive.

Scores are calibrated with one temperature for all labels, or with Platt's scale and shift for each. Then each label
gets the threshold that is best for the objective, by default F1. A label with too few images with or without it gets
a threshold shared by all labels. The column "out of fold" is cross-validated: expect its values on new images.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from handler.errors import LoadError
from scripts.archive.mar import check_target
from scripts.arguments import whole
from scripts.quality.fitting import Fit, calibrated, fit, log_loss, out_of_fold
from scripts.quality.measures import OVERALL, Decisions, Measures
from scripts.quality.objective import Objective
from scripts.quality.scores import UNKNOWN, Scores, read_labelled

SHOWN = ("micro_f1", "macro_f1", "exact_match", "calibration_error")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        check_target(options.output, options.force)
        scores = read_labelled(options.scores)
        content = calibrate(scores, _objective(options), options)
    except (LoadError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(*scores.cautions, _summary(content["provenance"]), sep="\n")
    print(f"wrote    {options.output}")
    return 0


def calibrate(scores: Scores, objective: Objective, options: argparse.Namespace) -> dict[str, Any]:
    """Returns the content of the file. Raises LoadError if there are fewer images than folds."""
    truth, applied = scores.truth, scores.calibration
    if len(truth) < options.folds:
        raise LoadError(options.scores, f"{len(truth)} images, expected at least one for each of {options.folds} folds")
    fitted = fit(scores.scores, truth, objective, options.method, options.min_support)
    as_scored = Decisions(scores.scores.astype(np.float64), scores.scores >= scores.thresholds, truth)
    again = calibrated(scores.scores, fitted.calibration)
    in_sample = Decisions(again, again >= fitted.thresholds, truth)
    held_out = out_of_fold(
        scores.scores, truth, objective, options.method, options.min_support, options.folds, options.seed
    )
    both = fitted.calibration.after(applied)
    return {
        "thresholds": dict(zip(scores.labels, fitted.thresholds.tolist(), strict=True)),
        "calibration": both.to_dict(scores.labels),
        "provenance": {
            "date": options.date,
            **scores.facts(),
            "objective": str(objective),
            "objective_kind": objective.kind,
            "objective_value": objective.value,
            "method": options.method,
            "min_support": options.min_support,
            "folds": options.folds,
            "seed": options.seed,
            "labels": _labels(scores, fitted),
            "quality": {
                "as scored": _quality(as_scored),
                "in sample": _quality(in_sample),
                "out of fold": _quality(Decisions(*held_out, truth)),
            },
        },
    }


def _labels(scores: Scores, fitted: Fit) -> dict[str, dict[str, Any]]:
    truth = scores.truth
    return {
        name: {
            "positives": int((truth[:, label] == 1).sum()),
            "negatives": int((truth[:, label] == 0).sum()),
            "unknown": int((truth[:, label] == UNKNOWN).sum()),
            "threshold_of": "its own" if fitted.own[label] else "all labels",
            "reached": bool(fitted.reached[label]),
        }
        for label, name in enumerate(scores.labels)
    }


def _quality(decisions: Decisions) -> dict[str, float | None]:
    """The measures over all labels; None where there is nothing to measure."""
    measures = Measures(decisions)()
    values = {name: float(measures[name][0]) for name in OVERALL}
    values["log_loss"] = log_loss(decisions.scores, decisions.truth)
    return {name: round(value, 6) if np.isfinite(value) else None for name, value in values.items()}


def _summary(provenance: dict[str, Any]) -> str:
    columns = provenance["quality"]
    lines = [f"{'':18} " + " ".join(f"{column:>12}" for column in columns)]
    for name in (*SHOWN, "log_loss"):
        values = [columns[column][name] for column in columns]
        lines.append(
            f"{name:18} " + " ".join("           –" if value is None else f"{value:12.4f}" for value in values)
        )
    labels = provenance["labels"]
    shared = [name for name, label in labels.items() if label["threshold_of"] != "its own"]
    unreached = [name for name, label in labels.items() if not label["reached"]]
    support = provenance["min_support"]
    if shared:
        lines.append(
            f"shared threshold, as fewer than {support} images are with or without the label: {', '.join(shared)}"
        )
    if unreached:
        lines.append(f"nearest threshold, as none reaches a {provenance['objective']}: {', '.join(unreached)}")
    return "\n".join(lines)


def _objective(options: argparse.Namespace) -> Objective:
    for kind in ("precision", "recall", "cost"):
        if (value := getattr(options, kind)) is not None:
            return Objective(kind, value)
    return Objective("f", options.beta)


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number above 0 and up to 1")
    return value


def _above_zero(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number above 0")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("scores", type=Path, help="directory that scripts/score.py wrote, of data with labels")
    add("--output", type=Path, required=True, metavar="JSON", help="file for build_archive --calibration")
    add("--force", action="store_true", help="overwrite an existing file")
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument("--beta", type=_above_zero, default=1.0, help="the best F-measure with this beta (default: 1)")
    goal.add_argument("--precision", type=_share, help="at least this precision, then the most recall")
    goal.add_argument("--recall", type=_share, help="at least this recall, then the most precision")
    goal.add_argument("--cost", type=_above_zero, help="the lowest cost, where a miss costs this many false alarms")
    add("--method", choices=("temperature", "platt", "none"), default="temperature", help="default: %(default)s")
    add(
        "--min-support",
        type=whole(2),
        default=10,
        help="images with and without a label for its own threshold (default: 10)",
    )
    add("--folds", type=whole(2), default=5, help="of the cross-validation (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the division into folds (default: %(default)s)")
    add("--date", default=time.strftime("%Y-%m-%d"), help="in the record of the fit (default: today)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
