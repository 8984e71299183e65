#!/usr/bin/env python3
"""Quantises an archive's network to int8, and writes a copy only if labelled photos show that it is not worse.

Some of the photos, chosen by their content, are what the quantisation is made with. All others judge it: micro and
macro F1 may be worse by no more than --margin, with 95 % confidence, in the paired comparison of scripts/evaluate.py.
Photos that the archive's thresholds were fitted on are not judged.

Where the first way to quantise is not shown to be good enough, a second one is tried. If that is not either, nothing is
written, and the output says how many photos could show it. The copy has a version of its own (1.0 becomes 1.0-int8) and
carries the evidence. It runs on a CPU alone.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from handler.classifier import WARM_UPS, Classifier
from handler.contents import METADATA_FILE, PROOFS, read_metadata
from handler.converted import QUANTISED
from handler.errors import LoadError
from scripts.archive.manifest import Archive, read_archive
from scripts.archive.mar import check_target
from scripts.archive.outline import read_outline
from scripts.archive.quantisation import (
    METHODS,
    Method,
    import_nncf,
    load_quantised,
    made_with,
    quantise,
    remove_converted,
    write_golden,
)
from scripts.archive.recipe import check_name
from scripts.archive.stage import write_json
from scripts.archive.unpacking import unpacked
from scripts.archive.variant import repack
from scripts.arguments import share, whole
from scripts.paths import BUILD
from scripts.quality.card import make_card
from scripts.quality.comparison import Comparison
from scripts.quality.dataset import root
from scripts.quality.fitted import describe_images
from scripts.quality.judgement import Places, judge, split
from scripts.quality.margin import CONFIDENCE, Bound, bounds
from scripts.quality.measures import SUPPORT
from scripts.quality.parquet import read_labelled
from scripts.quality.parts import WHOLE
from scripts.quality.scorers import InProcess
from scripts.quality.scores import Scores
from scripts.score import score

ROWS = 5000  # in a file of scores
PASSES = 15  # of each network, in turn; the median counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when the archive is written, 1 when it can't be, or when the photos don't show that it may."""
    options = _parser().parse_args(arguments)
    try:
        archive = read_archive(options.archive)
        version = options.version or f"{archive.version}-{QUANTISED}"
        output = options.output or BUILD / QUANTISED / f"{archive.name}-{version}.mar"
        # They are checked again later; here they fail before minutes of work.
        check_target(output, options.force)
        _check(archive, version)
        earn(options, archive, version, output)
    except (LoadError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote    {output}  {archive.name} {version}, quantised from {archive.version}")
    return 0


def earn(options: argparse.Namespace, archive: Archive, version: str, output: Path) -> None:
    """Writes output. Raises LoadError where the photos don't show that it is good enough."""
    with unpacked(archive.path) as directory, tempfile.TemporaryDirectory(prefix="quantise-") as work:
        plain = Classifier.load(directory, torch.device("cpu"), precision="float32", engine="openvino")
        before = _scored(plain, archive.name, archive.version, options.data, Path(work) / "float32")
        print(*before.cautions, sep="\n", end="\n" if before.cautions else "")
        used, judged = split(before, options.photos, options.seed, options.data)
        print(f"photos   {len(used)} to quantise with, {len(judged)} to judge by", flush=True)
        photos = [root(options.data) / before.paths[place] for place in used]
        tried: list[dict[str, Any]] = []
        shown: list[list[Bound]] = []
        for number, method in enumerate(METHODS):
            quantise(directory, method, photos, plain)
            quantised = load_quantised(directory)
            after = _scored(quantised, archive.name, version, options.data, Path(work) / str(number))
            comparison = judge(before, after, judged, options.margin, options.resamples, options.seed)
            found = bounds(comparison)
            _show(method, found, comparison)
            tried.append(_attempt(method, found, comparison))
            shown.append(found)
            if all(bound.holds for bound in found):
                break
        else:
            raise LoadError(options.data, _refusal(shown, len(used)))
        _warn(comparison)
        print(f"speed    {ratio(plain, quantised):.2f} times float32, batches of {plain.batch_size}, on this machine")
        evidence = _evidence(options, before, comparison, (used, judged), tried)
        evidence["largest_golden_difference"] = round(write_golden(directory, quantised), 4)
        remove_converted(directory)
        card = _card(options, after, comparison, evidence)
        write_json(directory / METADATA_FILE, {**read_metadata(directory), "quantisation": evidence, "card": card})
        load_quantised(directory).self_check(directory)
        shutil.rmtree(directory / PROOFS)  # what tries on this machine showed
        repack(directory, archive, output, {"precision": QUANTISED}, {}, version=version, force=options.force)


def ratio(plain: Classifier, quantised: Classifier) -> float:
    """How many times as fast the second is, by the median pass of a whole batch; they take turns."""
    batch = plain.example(plain.batch_size)
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(WARM_UPS + PASSES):
        for classifier, seconds in zip((plain, quantised), taken, strict=True):
            started = time.perf_counter()
            classifier.model.scores(batch)
            if number >= WARM_UPS:
                seconds.append(time.perf_counter() - started)
    return statistics.median(taken[0]) / statistics.median(taken[1])


def _check(archive: Archive, version: str) -> None:
    """What stops before the work. Raises LoadError."""
    check_name("version", version, "flags")
    outline = read_outline(archive)
    if outline.settings.precision == QUANTISED:
        raise LoadError(archive.path, f"precision: {QUANTISED} already, expected the version that it was made from")
    if not outline.sizes.network:
        raise LoadError(archive.path, "no converted network, expected one as scripts/build_archive.py makes it")
    if version == archive.version:
        raise LoadError("flags", f"version: {version} is that of {archive.path}, expected another")
    import_nncf()


def _scored(classifier: Classifier, name: str, version: str, data: Path, output: Path) -> Scores:
    score(InProcess(classifier, name, version), data, output, WHOLE, ROWS)
    return read_labelled(output)


def _show(method: Method, found: Sequence[Bound], comparison: Comparison) -> None:
    print(f"tried    {method}")
    for bound in found:
        print(f"         {bound}: {'within' if bound.holds else 'not shown to be within'} {bound.margin:g}")
    if comparison.worse_labels:
        print(f"         labels that are worse: {', '.join(comparison.worse_labels)}")
    sys.stdout.flush()


def _warn(comparison: Comparison) -> None:
    for what, names in zip(("fewer than {} judged photos have", "no judged photo has"), _rare(comparison), strict=True):
        if names:
            print(f"caution  {what.format(SUPPORT)}: {', '.join(names)}")


def _rare(comparison: Comparison) -> tuple[list[str], list[str]]:
    """Labels that few of the photos have, and those that none has."""
    support = dict(zip(comparison.labels, (comparison.first.decisions.truth == 1).sum(axis=0).tolist(), strict=True))
    few = [label for label, images in support.items() if 0 < images < SUPPORT]
    return few, [label for label, images in support.items() if images == 0]


def _refusal(shown: Sequence[Sequence[Bound]], used: int) -> str:
    """By the method that is nearest to it."""
    missing = [[bound for bound in found if not bound.holds] for found in shown]
    nearest = min(missing, key=lambda bounds: max(bound.needed for bound in bounds))
    lacks = "; ".join(bound.lack for bound in nearest)
    return f"not shown to be within the margin, so nothing was written: {lacks} ({used} others quantise)"


def _attempt(method: Method, found: Sequence[Bound], comparison: Comparison) -> dict[str, Any]:
    """For the archive: what was tried, and what it showed."""
    return {
        "preset": method.preset,
        "fast_bias_correction": method.fast_bias_correction,
        **{bound.name: {"difference": round(bound.difference, 6), "low": round(bound.low, 6)} for bound in found},
        "worse_measures": comparison.worse_measures,
        "worse_labels": comparison.worse_labels,
    }


def _evidence(
    options: argparse.Namespace,
    before: Scores,
    comparison: Comparison,
    places: tuple[Places, Places],
    tried: list[dict[str, Any]],
) -> dict[str, Any]:
    """What describe shows: nothing of time or machine, so that the same inputs give the same archive."""
    used, judged = ({k: v for k, v in describe_images(before.images[part]).items() if k != "hashes"} for part in places)
    few, none = _rare(comparison)
    return {
        "precision": QUANTISED,
        "made_with": made_with(),
        "data": before.origin.data,
        "data_sha256": before.origin.data_sha256,
        "seed": options.seed,
        "quantised_with": used,
        "judged_by": judged,
        "margin": options.margin,
        "confidence": CONFIDENCE,
        "tried": tried,
        "few_images": few,
        "not_judged": none,
    }


def _card(
    options: argparse.Namespace, after: Scores, comparison: Comparison, evidence: dict[str, Any]
) -> dict[str, Any]:
    """In place of that of the other precision: of the photos that judged, with what it was judged against."""
    facts = {**after.facts(), "images": len(comparison.paths), "resamples": options.resamples, "seed": options.seed}
    del facts["scores_sha256"]  # they aren't kept
    return {**make_card(facts, comparison.second, after.labels), "quantisation": evidence}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("archive", type=Path)
    add("--data", type=Path, required=True, help="photos with labels, as scripts/score.py takes them")
    add("--margin", type=share, default=0.01, help="of micro and macro F1: what may be lost (default: %(default)s)")
    add(
        "--photos",
        type=whole(1),
        default=300,
        help="to quantise with: those that thresholds were fitted on, and at most a quarter of the others "
        "(default: %(default)s)",
    )
    add("--seed", type=int, default=0, help="of the split and of the resamples (default: %(default)s)")
    add("--resamples", type=whole(20), default=1000, help="bootstrap resamples (default: %(default)s)")
    add("--version", help="of the copy (default: the archive's with -int8 after it)")
    add("--output", type=Path, metavar="MAR", help="default: build/int8/NAME-VERSION.mar")
    add("--force", action="store_true", help="overwrite an existing file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
