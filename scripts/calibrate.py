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

from handler.calibration import Calibration
from handler.errors import LoadError
from scripts.archive.mar import check_target
from scripts.arguments import share, whole
from scripts.quality.fitted import describe_images, parse_fitted_on
from scripts.quality.fitting import Fit, Procedure, calibrated, fit, log_loss, out_of_fold
from scripts.quality.measures import OVERALL, Decisions, Measures
from scripts.quality.objective import NEVER, Objective
from scripts.quality.parquet import read_labelled
from scripts.quality.scores import UNKNOWN, Scores

SHOWN = ("micro_f1", "macro_f1", "exact_match", "calibration_error")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        check_target(options.output, options.force)
        scores = read_labelled(options.scores)
        content = calibrate(scores, _procedure(options, len(scores.labels)), options)
    except (LoadError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(*scores.cautions, _summary(content["provenance"]), sep="\n")
    print(f"wrote    {options.output}")
    return 0


def calibrate(scores: Scores, how: Procedure, options: argparse.Namespace) -> dict[str, Any]:
    """Returns the content of the file. Raises LoadError if there are fewer images than folds."""
    truth = scores.truth
    if len(truth) < how.folds:
        raise LoadError(options.scores, f"{len(truth)} images, expected at least one for each of {how.folds} folds")
    applied = _applied(scores)
    start = calibrated(scores.scores, applied.after(scores.calibration.inverse))
    fitted = fit(start, truth, how)
    served = Decisions(scores.scores.astype(np.float64), scores.scores >= scores.thresholds, truth, start)
    again = calibrated(start, fitted.calibration)
    in_sample = Decisions(again, again >= fitted.thresholds, truth, start)
    held_out = out_of_fold(start, truth, scores.images, how)
    both = fitted.calibration.after(applied)
    objective = how.objective
    return {
        "thresholds": dict(zip(scores.labels, fitted.thresholds.tolist(), strict=True)),
        "calibration": both.to_dict(scores.labels),
        "provenance": {
            "date": options.date,
            **scores.facts(),
            "objective": str(objective),
            "objective_kind": objective.kind,
            "objective_value": objective.value,
            "confidence": objective.confidence,  # of one label
            "promise": _promise(scores, how, fitted, options) if objective.promises else None,
            "otherwise": options.otherwise,
            "method": how.method,
            "min_support": how.min_support,
            "folds": how.folds,
            "seed": how.seed,
            "applied": applied.to_dict(scores.labels) if applied.changes else None,
            "fitted_on": describe_images(scores.images),
            "labels": _labels(scores, fitted),
            "quality": {
                "as scored": _quality(served),
                "in sample": _quality(in_sample),
                "out of fold": _quality(Decisions(held_out.scores, held_out.fired, truth, start)),
            },
        },
    }


def _promise(scores: Scores, how: Procedure, fitted: Fit, options: argparse.Namespace) -> dict[str, Any]:
    """For describe and the card: what new images may be expected to hold."""
    return {
        how.objective.kind: how.objective.value,
        "confidence": options.confidence,
        "of": "all labels together" if options.together else "each label",
        "images": len(scores.paths),
        "labels": [name for name, reached in zip(scores.labels, fitted.reached, strict=True) if reached],
    }


def _applied(scores: Scores) -> Calibration:
    """What the fit begins with: the archive's calibration, unless it was fitted on some of these very images."""
    settings = scores.origin.fit
    fitted_on = None if settings is None else parse_fitted_on(settings)
    if fitted_on is not None and fitted_on.includes(scores.images).any():
        return Calibration.none(len(scores.labels))
    return scores.calibration


def _labels(scores: Scores, fitted: Fit) -> dict[str, dict[str, Any]]:
    truth = scores.truth
    return {
        name: {
            "positives": int((truth[:, label] == 1).sum()),
            "negatives": int((truth[:, label] == 0).sum()),
            "unknown": int((truth[:, label] == UNKNOWN).sum()),
            "own": round(float(fitted.part[label]), 6),
            "reached": bool(fitted.reached[label]),
            "scale_at_bound": bool(fitted.at_bound[label]),
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
    support = provenance["min_support"]
    shared = [name for name, label in labels.items() if min(label["positives"], label["negatives"]) < support]
    unreached = [name for name, label in labels.items() if not label["reached"]]
    promise = provenance["promise"]
    if shared and not promise:
        lines.append(
            f"threshold near that of all labels, as fewer than {support} images are with or without the label: "
            + ", ".join(shared)
        )
    if promise:
        lines.append(
            f"promised: a {provenance['objective']} on new images for {len(promise['labels'])} of {len(labels)} "
            f"labels, with a confidence of {promise['confidence']:g} for {promise['of']}"
        )
    if unreached:
        threshold = provenance["otherwise"]
        instead = "never given" if threshold is None else f"given from {threshold:g} on"
        lines.append(
            f"{instead}, as {provenance['images']} images can't promise a {provenance['objective']}: "
            + ", ".join(unreached)
        )
    if any(label["scale_at_bound"] for label in labels.values()):
        lines.append("caution  a scale ended at its bound: too few decisions are wrong to calibrate by")
    return "\n".join(lines)


def _procedure(options: argparse.Namespace, classes: int) -> Procedure:
    # Bonferroni: all promises hold together with this confidence, if each may fail with its part of the risk.
    risk = (1 - options.confidence) / (classes if options.together else 1)
    objective = Objective("f", options.beta, 1 - risk)
    for kind in ("precision", "recall", "cost"):
        if (value := getattr(options, kind)) is not None:
            objective = Objective(kind, value, 1 - risk)
    otherwise = NEVER if options.otherwise is None else options.otherwise
    return Procedure(objective, options.method, options.min_support, options.folds, options.seed, otherwise)


def _between(text: str) -> float:
    if not 0 < (value := share(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number above 0 and below 1")
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
    goal.add_argument("--precision", type=_between, help="promise this precision on new images, then the most recall")
    goal.add_argument("--recall", type=_between, help="promise this recall on new images, then the most precision")
    goal.add_argument("--cost", type=_above_zero, help="the lowest cost, where a miss costs this many false alarms")
    add("--confidence", type=_between, default=0.9, help="of each label's promise (default: %(default)s)")
    add("--together", action="store_true", help="the confidence is for the promises of all labels together")
    add(
        "--otherwise",
        type=_between,
        metavar="THRESHOLD",
        help="of labels for which no promise can be made (default: they are never given)",
    )
    add("--method", choices=("temperature", "platt", "none"), default="temperature", help="default: %(default)s")
    add(
        "--min-support",
        type=whole(2),
        default=10,
        help="images with and without a label for Platt's scale and shift of its own (default: 10)",
    )
    add("--folds", type=whole(2), default=5, help="of the cross-validation (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the division into folds (default: %(default)s)")
    add("--date", default=time.strftime("%Y-%m-%d"), help="in the record of the fit (default: today)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
