#!/usr/bin/env python3
"""Scores and labels → a calibration and a threshold for each label, in a file that build_archive takes.

Each label's scores are calibrated (one temperature for all labels, or Platt's two numbers for each), and its threshold
is the one that does best for the objective: the best F1 unless another is asked. A label with too few images that have
it, or that don't, gets the threshold of all labels together. What is printed as out of fold was measured on images that
the calibration and the thresholds had not seen: that is what to expect of new ones.
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
from scripts.quality.measures import OVERALL, Decided, Measures
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
    print(_summary(content["provenance"]))
    print(f"wrote    {options.output}")
    return 0


def calibrate(scores: Scores, objective: Objective, options: argparse.Namespace) -> dict[str, Any]:
    """Raises LoadError where there is too little truth to go by."""
    truth, first = scores.truth, scores.calibration
    if len(truth) < options.folds:
        raise LoadError(options.scores, f"{len(truth)} images, expected at least one for each of {options.folds} folds")
    found = fit(scores.scores, truth, objective, options.method, options.min_support)
    served = Decided(scores.scores.astype(np.float64), scores.scores >= scores.thresholds, truth)
    fitted = calibrated(scores.scores, found.calibration)
    held_out = out_of_fold(
        scores.scores, truth, objective, options.method, options.min_support, options.folds, options.seed
    )
    whole = found.calibration.after(first)
    return {
        "thresholds": dict(zip(scores.labels, found.thresholds.tolist(), strict=True)),
        "calibration": whole.to_dict(scores.labels),
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
            "labels": _labels(scores, found),
            "quality": {
                "as scored": _quality(served),
                "in sample": _quality(Decided(fitted, fitted >= found.thresholds, truth)),
                "out of fold": _quality(Decided(*held_out, truth)),
            },
        },
    }


def _labels(scores: Scores, found: Fit) -> dict[str, dict[str, Any]]:
    truth = scores.truth
    return {
        name: {
            "positives": int((truth[:, label] == 1).sum()),
            "negatives": int((truth[:, label] == 0).sum()),
            "unknown": int((truth[:, label] == UNKNOWN).sum()),
            "threshold_of": "its own" if found.own[label] else "all labels",
            "reached": bool(found.reached[label]),
        }
        for label, name in enumerate(scores.labels)
    }


def _quality(decided: Decided) -> dict[str, float | None]:
    found = Measures(decided)()
    values = {name: float(found[name][0]) for name in OVERALL} | {"log_loss": log_loss(decided.scores, decided.truth)}
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
    missed = [name for name, label in labels.items() if not label["reached"]]
    support = provenance["min_support"]
    if shared:
        lines.append(f"less than {support} images with or without, so the threshold of all labels: {', '.join(shared)}")
    if missed:
        lines.append(f"{provenance['objective']} not to be had, the nearest to it: {', '.join(missed)}")
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
    add("scores", type=Path, help="of scripts/score.py, over data with labels")
    add("--output", type=Path, required=True, metavar="JSON")
    add("--force", action="store_true", help="overwrite it")
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument("--beta", type=_above_zero, default=1.0, help="the best F with this beta (default: 1)")
    goal.add_argument("--precision", type=_share, help="at least this, and then the most recall")
    goal.add_argument("--recall", type=_share, help="at least this, and then the most precision")
    goal.add_argument("--cost", type=_above_zero, help="a miss is as dear as so many false alarms")
    add("--method", choices=("temperature", "platt", "none"), default="temperature", help="default: %(default)s")
    add("--min-support", type=whole(2), default=10, help="images with, and without, for an own threshold (default: 10)")
    add("--folds", type=whole(2), default=5, help="for the estimate out of fold (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the folds (default: %(default)s)")
    add("--date", default=time.strftime("%Y-%m-%d"), help="for the record (default: today)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
