#!/usr/bin/env python3
"""Draws data sets from a known world, and counts how often what calibrate and evaluate say of them is so.

The truth of any threshold is known, from many new images. Tables: intervals that hold the truth, verdicts on two equal
versions (by the command lines, on the documented way), promises that are kept, thresholds of labels with few images.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import failures
from bench.world import World, origin_of, run, world, write_scores
from handler.calibration import parse_calibration
from scripts import calibrate, evaluate
from scripts.arguments import whole
from scripts.quality.bootstrap import estimate
from scripts.quality.fitted import fit_settings
from scripts.quality.fitting import Procedure, calibrated, fit, out_of_fold
from scripts.quality.measures import MACRO, OVERALL, PER_LABEL, Array, Decisions, Measures
from scripts.quality.objective import Objective

NEW = 40_000  # images that the truth is measured on
RESAMPLES = 200
F1 = Objective("f", 1)
COVERAGE = [(50, 10), (200, 10), (1_000, 10), (5_000, 10), (200, 80), (1_000, 80), (5_000, 80)]
VERDICTS = [(images, labels, method) for images in (200, 1_000, 5_000) for labels in (10, 40) for method in
            ("temperature", "platt")]  # fmt: skip
PROMISES = [
    (kind, value, images) for kind in ("precision", "recall") for value in (0.8, 0.9) for images in (300, 2_000)
]
FEW = (1, 3, 10, 30, 100)  # images of 1,000 that have the label
LABEL = 3  # the measured label among ten, in the table of few images


def main(arguments: Sequence[str] | None = None) -> int:
    return failures.run(_simulate, _parser().parse_args(arguments))


def _simulate(options: argparse.Namespace) -> int:
    with ProcessPoolExecutor(options.processes) as pool:
        for name in options.tables:
            print(f"\n### {name}\n", flush=True)
            TABLES[name](options.rounds, pool)
    return 0


# Intervals


def coverage(rounds: float, pool: ProcessPoolExecutor) -> None:
    columns = ["micro F1", "exact match", "macro F1", "macro precision", "mAP"]
    _head("images", "labels", "fit", *columns, *(f"label's {name.replace('_', ' ')}" for name in PER_LABEL), "shown")
    for (images, labels), held in ((size, held) for size in COVERAGE for held in (False, True)):
        count = _count(60 if images < 1_000 else 24 if labels < 80 else 8, rounds)
        found = list(pool.map(partial(covered, images, labels, held), range(count)))
        cells = [_share([each[name] for each in found if name in each]) for name in COVERED]
        shown = np.mean([each["shown"] for each in found])
        _line(f"{images:,}", labels, "out of fold" if held else "fixed", *cells, f"{100 * shown:.0f} %")


COVERED = ("micro_f1", "exact_match", "macro_f1", "macro_precision", "map", *PER_LABEL)


def covered(images: int, labels: int, held: bool, seed: int) -> dict[str, Any]:
    """Whether each interval of one data set holds the truth: 1 or 0, or the share of the labels. `shown`: of these, the
    share that has an interval. held: thresholds and a calibration are fitted on the images, and judged out of fold."""
    rng = np.random.default_rng((seed, images, labels))
    there = world(labels)
    scores, truth = there.sample(rng, images)
    new_scores, new_truth = there.sample(rng, NEW)
    if held:
        how = Procedure(F1)
        found = out_of_fold(scores, truth, rng.integers(0, 2**64, images, dtype=np.uint64), how)
        fitted = fit(scores, truth, how)
        decisions = Decisions(found.scores, found.fired, truth, scores.astype(np.float64), found.refit)
        served = calibrated(new_scores, fitted.calibration)
        new = Decisions(served, served >= fitted.thresholds, new_truth)
    else:
        decisions = Decisions(scores.astype(np.float64), scores >= 0.4, truth)
        new = Decisions(new_scores.astype(np.float64), new_scores >= 0.4, new_truth)
    estimated = estimate(decisions, RESAMPLES, seed)
    right = Measures(new)()
    results: dict[str, Any] = {}
    for name in (*OVERALL, *PER_LABEL):
        intervals, true = estimated.intervals[name], right[name].reshape(-1)
        if name in MACRO and (supported := estimated.supported[name]).any():
            # Over the labels that have enough images, in this data set.
            column = name.removeprefix("macro_") if name != "map" else "average_precision"
            intervals = estimated.intervals[f"{name}_supported"] if not estimated.all_supported(name) else intervals
            true = np.nan_to_num(right[column][0][supported]).mean(keepdims=True)
        held_true = [each.low <= value <= each.high for each, value in zip(intervals, true, strict=True)
                     if np.isfinite(each.low)]  # fmt: skip
        if held_true:
            results[name] = float(np.mean(held_true))
    shown = [np.isfinite(each.low) for name in PER_LABEL for each in estimated.intervals[name]]
    return {**results, "shown": float(np.mean(shown))}


# Verdicts


def verdicts(rounds: float, pool: ProcessPoolExecutor) -> None:
    _head("images", "labels", "method", "data sets", "better or worse", "not worse by 0.01", "a measure worse",
          "a label worse", "would be seen")  # fmt: skip
    for images, labels, method in VERDICTS:
        count = _count({200: 40, 1_000: 20, 5_000: 6}[images], rounds)
        found = list(pool.map(partial(verdict, images, labels, method), range(count)))
        said = [each["verdict"] for each in found]
        _line(
            f"{images:,}", labels, method, count,
            _share([each in ("better", "worse") for each in said]), _share([each == "not worse" for each in said]),
            _share([bool(each["worse_measures"]) for each in found]),
            _share([bool(each["worse_labels"]) for each in found]),
            f"{np.mean([each['detectable'] for each in found]):.3f}",
        )  # fmt: skip


def verdict(images: int, labels: int, method: str, seed: int) -> dict[str, Any]:
    """What evaluate says of two equal versions: the old one was calibrated on the list, built and scored it; the new
    one is calibrated on it now."""
    rng, there = np.random.default_rng((seed, images, labels)), world(labels)
    truth = there.truth(rng, images)
    shared = rng.normal(size=truth.shape)
    names = [f"label {number}" for number in range(labels)]
    with tempfile.TemporaryDirectory(prefix="verdict-") as directory:
        path = Path(directory)
        old, new = there.scores(rng, truth, shared), there.scores(rng, truth, shared)
        write_scores(path / "old", old, truth, origin_of(names, "1.0"))
        run(calibrate.main, path / "old", "--output", path / "old.json", "--method", method)
        content = json.loads((path / "old.json").read_text())
        again = calibrated(old, parse_calibration(content["calibration"], names, "old"))
        of = origin_of(names, "1.0", content["thresholds"], content["calibration"], fit_settings(content["provenance"]))
        write_scores(path / "served", again.astype(np.float32), truth, of)
        write_scores(path / "new", new, truth, origin_of(names, "2.0"))
        run(calibrate.main, path / "new", "--output", path / "new.json", "--method", method)
        flags = ("--against", path / "served", "--json", path / "all.json", "--resamples", RESAMPLES)
        run(evaluate.main, path / "new", "--calibration", path / "new.json", *flags)
        comparison: dict[str, Any] = json.loads((path / "all.json").read_text())["comparison"]
    return comparison


# Promises


def promises(rounds: float, pool: ProcessPoolExecutor) -> None:
    _head("promise", "images", "made", "kept, of those made", "kept without a bound", "the other measure")
    for kind, value, images in PROMISES:
        found = list(pool.map(partial(promised, kind, value, images), range(_count(30, rounds))))
        made, kept, plain, other = (np.concatenate([each[place] for each in found]) for place in range(4))
        _line(f"{kind} of {value:g}", f"{images:,}", _share(made), _share(kept[made]), _share(plain),
              f"{other[made].mean():.2f}")  # fmt: skip


def promised(kind: Any, value: float, images: int, seed: int) -> tuple[NDArray[Any], ...]:
    """For each label: whether a threshold was promised, whether it keeps it on new images, whether the best threshold
    without a bound does, and the precision or recall, whichever was not asked for."""
    rng, there = np.random.default_rng((seed, images)), world(10)
    scores, truth = there.sample(rng, images)
    new_scores, new_truth = there.sample(rng, NEW)
    fitted = fit(scores, truth, Procedure(Objective(kind, value), "none"))
    kept, other = _reaches(kind, value, new_scores, new_truth, fitted.thresholds)
    plain = np.array([_without_bound(kind, value, scores[:, c], truth[:, c] == 1) for c in range(10)])
    return fitted.reached, kept, _reaches(kind, value, new_scores, new_truth, plain)[0], other


def _reaches(
    kind: str, value: float, scores: NDArray[Any], truth: NDArray[np.int8], thresholds: Array
) -> tuple[NDArray[np.bool_], Array]:
    fired, positive = scores >= thresholds, truth == 1
    hits = (fired & positive).sum(axis=0)
    precision, recall = hits / np.maximum(fired.sum(axis=0), 1), hits / positive.sum(axis=0)
    wanted, other = (precision, recall) if kind == "precision" else (recall, precision)
    return wanted >= value, other


def _without_bound(kind: str, value: float, scores: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    """The best threshold that reaches the value on these very images."""
    order = np.argsort(-scores)
    right = np.cumsum(truth[order])
    share = right / np.arange(1, len(order) + 1) if kind == "precision" else right / max(right[-1], 1)
    reached = np.flatnonzero(share >= value)
    if not len(reached):
        return 1.0
    return float(scores[order[reached[-1] if kind == "precision" else reached[0]]])


# Labels with few images


def few(rounds: float, pool: ProcessPoolExecutor) -> None:
    _head("images with the label", "at 0.5", "one for all", "its own", "drawn towards it", "the best there is")
    for positives in FEW:
        found = np.array(list(pool.map(partial(with_few, positives), range(_count(60, rounds)))))
        _line(positives, *(f"{value:.3f}" for value in found.mean(axis=0)))


def with_few(positives: int, seed: int) -> tuple[float, ...]:
    """F1 on new images of a label that so many of 1,000 have, by the rule that its threshold is chosen by."""
    rng = np.random.default_rng((seed, positives))
    prevalence = world(10).prevalence
    prevalence[LABEL] = positives / 1_000
    there = World(prevalence)
    scores, truth = there.sample(rng, 1_000)
    truth[:, LABEL] = 0
    truth[:positives, LABEL] = 1
    scores = there.scores(rng, truth)
    new_scores, new_truth = there.sample(rng, 4 * NEW)
    fitted = fit(scores, truth, Procedure(F1, "none"))
    own = fit(scores[:, [LABEL]], truth[:, [LABEL]], Procedure(F1, "none")).shared
    z, positive = new_scores[:, LABEL], new_truth[:, LABEL] == 1
    best = max(_f1(z, positive, threshold) for threshold in np.geomspace(0.001, 0.9, 60))
    rules = (0.5, fitted.shared, own, float(fitted.thresholds[LABEL]))
    return (*(_f1(z, positive, threshold) for threshold in rules), best)


def _f1(scores: NDArray[Any], truth: NDArray[np.bool_], threshold: float) -> float:
    fired = scores >= threshold
    return float(2 * (fired & truth).sum() / max(fired.sum() + truth.sum(), 1))


def _count(usual: int, rounds: float) -> int:
    return max(2, round(usual * rounds))


def _share(values: Iterable[Any]) -> str:
    values = np.asarray(list(values), dtype=np.float64)
    return f"{values.mean():.2f}" if len(values) else "–"


def _head(*cells: object) -> None:
    _line(*cells)
    print("|" + "---|" * len(cells))


def _line(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


TABLES: dict[str, Callable[[float, ProcessPoolExecutor], None]] = {
    "coverage": coverage,
    "verdicts": verdicts,
    "promises": promises,
    "few": few,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--tables", nargs="+", choices=TABLES, default=list(TABLES), help="default: all")
    add("--rounds", type=float, default=1.0, help="times as many data sets (default: %(default)s, within 10 minutes)")
    add("--processes", type=whole(1), default=2, help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
