#!/usr/bin/env python3
"""Measures a classifier on scores and labels, with 95 % bootstrap intervals, as a table, a report and a model card.

--calibration adds the measures after calibration: out of fold where it was fitted on these very scores. --against
compares with another version on the images that both have, and says whether this one may replace it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from handler.errors import LoadError
from scripts.archive.measured import Calibrated, check_weights, read_calibrated
from scripts.arguments import share, whole
from scripts.quality.card import make_card
from scripts.quality.comparison import Comparison
from scripts.quality.evaluation import AS_SCORED, Version, as_scored, judgeable, with_calibration
from scripts.quality.fitted import fit_settings
from scripts.quality.intervals import Interval
from scripts.quality.measures import MACRO, OVERALL, SUPPORT
from scripts.quality.parquet import read_labelled
from scripts.quality.report import write_report
from scripts.quality.scores import Scores, joined

CALIBRATION_FACTS = ("date", "method", "objective", "promise", "images", "data", "scores_sha256")
NO_INTERVAL = "no interval"
COLUMNS = ("precision", "recall", "f1", "average_precision")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        scores, others = read_labelled(options.scores), options.against and read_labelled(options.against)
        fitted = _read_calibration(options, scores)
        scores, left_out = _judged(scores, fitted)
        versions = [as_scored(scores, options.resamples, options.seed)]
        if fitted is not None:
            versions.append(with_calibration(scores, fitted, options.resamples, options.seed))
        comparison = _against(options, scores, others, versions[-1]) if others else None
        content = _content(options, scores, fitted, versions, comparison)
        cautions = scores.cautions + ([f"caution  {left_out}"] if left_out else [])
        print(*cautions, sep="\n", end="\n\n" if cautions else "")
        print(_table(versions, comparison), _labels(scores, versions[-1]), sep="\n\n")
        if options.report:
            write_report(options.report, scores, versions, comparison, options.images, options.pictures, content["of"])
            print(f"\nwrote    {options.report}")
        _write_json(options.json, content)
        _write_json(options.card, make_card(content["of"], versions[-1], scores.labels))
    except (LoadError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _read_calibration(options: argparse.Namespace, scores: Scores) -> Calibrated | None:
    """Raises LoadError if it was fitted for other weights."""
    if options.calibration is None:
        return None
    fitted = read_calibrated(options.calibration, scores.labels)
    check_weights(fitted.provenance, scores.origin.model["sha256"], options.calibration)
    return fitted


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"wrote    {path}")


def _judged(scores: Scores, fitted: Calibrated | None) -> tuple[Scores, str]:
    """The images that can be judged, and how many can't, in words. Raises LoadError if none can."""
    kept = judgeable(scores, scores.origin.fit, fit_settings(fitted.provenance) if fitted else None)
    if (count := len(scores.paths) - len(kept)) == 0:
        return scores, ""
    return scores.only(kept), f"{count} images were fitted on, with others that are not here, and aren't judged"


def _against(options: argparse.Namespace, scores: Scores, others: Scores, version: Version) -> Comparison:
    """The other version as scored against this one as it will serve, on the images that both have."""
    others = others.only(judgeable(others, others.origin.fit))
    other = as_scored(others, options.resamples, options.seed)
    names = [f"{part.origin.model['name']} {part.origin.model['version']}" for part in (others, scores)]
    if names[0] == names[1]:
        names = [str(options.against), str(options.scores)]
    mine, theirs = joined(scores, others)
    first = replace(other.only(theirs), name=_named(names[0], other))
    second = replace(version.only(mine), name=_named(names[1], version))
    return Comparison(first, second, scores.labels, options.margin, [scores.paths[place] for place in mine])


def _named(name: str, version: Version) -> str:
    return name if version.name == AS_SCORED else f"{name}, {version.name}"


def _content(
    options: argparse.Namespace,
    scores: Scores,
    fitted: Calibrated | None,
    versions: Sequence[Version],
    comparison: Comparison | None,
) -> dict[str, Any]:
    facts = {
        **scores.facts(),
        "calibration": {key: fitted.provenance.get(key) for key in CALIBRATION_FACTS} if fitted else None,
        "resamples": options.resamples,
        "seed": options.seed,
    }
    return {
        "of": facts,
        "versions": {version.name: version.to_dict(scores.labels) for version in versions},
        "comparison": comparison.to_dict() if comparison else None,
    }


def _table(versions: Sequence[Version], comparison: Comparison | None) -> str:
    width = max(len(title) for title, _ in OVERALL.values())
    lines = [" " * width + "  " + "  ".join(f"{version.name:>24}" for version in versions)]
    for name, (title, _) in OVERALL.items():
        cells = "  ".join(f"{_show(version.measured[name][0]):>24}" for version in versions)
        lines.append(f"{title:{width}}  {cells}")
    lines += [_perfect(version) for version in versions]
    lines += _supported(versions, width)
    if comparison is not None:
        lines += [
            "",
            f"{comparison.second.name} minus {comparison.first.name}, {len(comparison.paths)} images in common",
        ]
        lines += [
            f"{OVERALL[name][0]:{width}}  {_show(interval, '+'):>24}"
            for name, interval in comparison.differences.items()
        ]
        lines += ["", comparison.power, comparison.text]
    return "\n".join(lines)


def _perfect(version: Version) -> str:
    mean, limit = version.estimate.perfect
    shown = version.measured["calibration_error"][0].value
    beyond = "is more than chance" if shown > limit else "may be chance"
    return (
        f"{version.name}: a calibration error of {shown:.3f} {beyond}; scores without fault would show {mean:.3f}, "
        f"and up to {limit:.3f}"
    )


def _supported(versions: Sequence[Version], width: int) -> list[str]:
    """The means over the labels that have enough images, where not all have."""
    estimate = versions[-1].estimate
    few = [name for name in MACRO if not estimate.all_supported(name) and estimate.supported[name].any()]
    if not few:
        return []
    lines = ["", f"of labels with {SUPPORT} or more images (and, for precision, answers) only:"]
    for name in few:
        title = f"{OVERALL[name][0]}, {int(estimate.supported[name].sum())} labels"
        cells = "  ".join(f"{_show(version.measured[f'{name}_supported'][0]):>24}" for version in versions)
        lines.append(f"{title:{width}}  {cells}")
    return lines


def _labels(scores: Scores, version: Version) -> str:
    width = max(5, *(len(name) for name in scores.labels))
    lines = [f"{'label':{width}} {'images':>7} {'threshold':>9} " + " ".join(f"{name:>22}" for name in COLUMNS)]
    for place, name in enumerate(scores.labels):
        images = int((scores.truth[:, place] == 1).sum())
        cells = " ".join(f"{_show(version.measured[column][place]):>22}" for column in COLUMNS)
        lines.append(f"{name:{width}} {images:7} {version.thresholds[place]:9.3f} {cells}")
    return "\n".join(lines)


def _show(interval: Interval, sign: str = "") -> str:
    if interval.value != interval.value:
        return "–"
    if interval.low != interval.low:
        return f"{interval.value:{sign}.3f} {NO_INTERVAL:>16}"
    return f"{interval.value:{sign}.3f} ({interval.low:{sign}.3f} to {interval.high:{sign}.3f})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("scores", type=Path, help="directory that scripts/score.py wrote, of data with labels")
    add("--calibration", type=Path, metavar="JSON", help="what scripts/calibrate.py wrote: adds the measures after it")
    add("--against", type=Path, metavar="SCORES", help="another version's scores of the same data")
    add(
        "--margin",
        type=share,
        default=0.01,
        help="of micro F1: what may be lost for a version to count as not worse (default: %(default)s)",
    )
    add("--report", type=Path, metavar="HTML", help="a report for the team, one page that opens offline")
    add("--card", type=Path, metavar="JSON", help="a model card for build_archive --card")
    add("--json", type=Path, metavar="JSON", help="every measure")
    add("--images", type=Path, metavar="DIR", help="folder of the pictures (default: where they were scored)")
    add(
        "--pictures",
        type=whole(0),
        default=12,
        help="pictures in the report, of the worst errors (default: %(default)s)",
    )
    add(
        "--resamples", type=whole(20), default=1000, help="bootstrap resamples for the intervals (default: %(default)s)"
    )
    add("--seed", type=int, default=0, help="of the resamples (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
