#!/usr/bin/env python3
"""Scores a data set with an archive or a checkpoint in this process, or with a running server, and writes Parquet.

The data is a folder, or a .csv, .jsonl or .parquet file with a column `path` and, where they are known, labels: see
docs/quality.md. A file that isn't an image, or that the model refuses, becomes a row with the error's code. An
interrupted run continues when the same command is run again. `--shard 2/8` scores the second of eight parts.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from handler.errors import LoadError
from scripts.arguments import share, whole
from scripts.quality.dataset import Sample, count_samples, read_samples, root
from scripts.quality.parquet import read_images, read_origin, write_part
from scripts.quality.parts import WHOLE, Shard, check_same_split, find_parts, part_name, shard_size
from scripts.quality.scorers import InProcess, Outcome, OverHttp, Scorer
from scripts.quality.scores import Origin, Row
from scripts.server.client import ApiError
from scripts.server.torchserve import ServerError

TOO_MANY_REFUSED = 3  # exit code
UNREADABLE = "unreadable"  # the code of a file that is missing or can't be read


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when every image has a row, 1 after an error, 130 after Ctrl-C.

    It is 3 when every image has a row, and more than --max-refused of this run's images were refused.
    """
    options = _parser().parse_args(arguments)
    try:
        scorer: Scorer
        if options.url is not None:
            scorer = OverHttp(options.url, options.clients, options.management)
        else:
            recipe = {key: vars(options)[key] for key in ("architecture", "labels", "preprocessing")}
            scorer = InProcess.load(options.source, options.device, recipe)
        scored, failed = score(scorer, options.data, options.output, options.shard, options.rows)
    except (LoadError, ServerError, ApiError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped  run the same command again to continue", file=sys.stderr)
        return 130
    print(f"scored   {scored} images, {failed} of them refused\nwrote    {options.output}")
    if failed > options.max_refused * scored:
        print(
            f"error: {failed} of {scored} images refused, expected {options.max_refused:.0%} at most", file=sys.stderr
        )
        return TOO_MANY_REFUSED
    return 0


def score(scorer: Scorer, data: Path, output: Path, shard: Shard, rows: int) -> tuple[int, int]:
    """Returns how many images were scored by this run, and how many of these failed.

    Raises LoadError where the data is wrong, or where `output` holds scores that these can't be added to.
    """
    # Reads the whole list first: a mistake in its last row stops the run before the first image.
    images = count_samples(data, scorer.labels)
    origin = replace(scorer.origin(data), images=images, shards=shard[1])
    done = _scored_before(output, origin, shard)
    samples = islice(read_samples(data, scorer.labels), shard[0] - 1, None, shard[1])
    before = _skip(samples, read_images(done), output, root(data))
    output.mkdir(parents=True, exist_ok=True)
    failed, total = 0, shard_size(images, shard)
    with tqdm(total=total, initial=before, unit=" images", disable=None) as bar:
        for number in count(len(done)):
            part = _next_part(scorer, samples, root(data), rows, bar)
            if not part:
                break
            write_part(output / part_name(shard, number), origin, part)
            failed += sum(row.error is not None for row in part)
    return total - before, failed


def _scored_before(output: Path, origin: Origin, shard: Shard) -> list[Path]:
    """The files of this shard, in order. Raises LoadError where any file is of another origin or another split."""
    parts = find_parts(output)
    check_same_split(parts, shard[1])
    for part in parts:
        if (before := read_origin(part.path)) != origin:
            differs = before.difference(origin)
            raise LoadError(part.path, f"of another model or other data ({differs}), expected a new --output")
    return [part.path for part in parts if part.shard == shard]


def _next_part(scorer: Scorer, samples: Iterator[Sample], base: Path, rows: int, bar: Any) -> list[Row]:
    """Scores the next images, up to `rows` of them, and no more at once than the scorer takes."""
    part: list[Row] = []
    while len(part) < rows and (chunk := list(islice(samples, min(scorer.at_once, rows - len(part))))):
        part += _rows(scorer, chunk, base)
        bar.update(len(chunk))
    return part


def _skip(samples: Iterator[Sample], scored: Iterator[tuple[str, bytes | None]], output: Path, base: Path) -> int:
    """Skips the samples that were scored before, and returns how many.

    Raises LoadError where the paths differ, or where an image is not the one that was scored.
    """
    skipped = 0
    for path, image in scored:
        sample = next(samples, None)
        if sample is None or sample.path != path:
            raise LoadError(output, f"{path}: not where it was in the data, expected a new --output")
        if image is not None and _digest(_read(base / path)) != image:
            raise LoadError(output, f"{path}: changed or gone since it was scored, expected a new --output")
        skipped += 1
    return skipped


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _digest(image: bytes | None) -> bytes | None:
    return None if image is None else hashlib.sha256(image).digest()


def _rows(scorer: Scorer, samples: Sequence[Sample], base: Path) -> list[Row]:
    """Scores the samples whose files can be read; the others are errors."""
    images = [_read(base / sample.path) for sample in samples]
    outcomes = iter(scorer.score([image for image in images if image is not None]))
    return [
        _row(sample, UNREADABLE if image is None else next(outcomes), _digest(image))
        for sample, image in zip(samples, images, strict=True)
    ]


def _row(sample: Sample, outcome: Outcome, image: bytes | None) -> Row:
    if isinstance(outcome, str):
        return Row(sample.path, None, outcome, sample.truth, image)
    return Row(sample.path, outcome, None, sample.truth, image)


def _shard(text: str) -> Shard:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r}, expected I/N with I from 1 to N")
    return int(index), int(count)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    model: Any = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("source", nargs="?", type=Path, help="a .mar, or a checkpoint that build_archive takes")
    model.add_argument("--url", help="a running server's predictions: http://127.0.0.1:8080/predictions/NAME")
    add("--data", type=Path, required=True, help="a folder, .csv, .jsonl or .parquet")
    add("--output", type=Path, required=True, metavar="DIR", help="directory for the Parquet files")
    add("--shard", type=_shard, default=WHOLE, metavar="I/N", help="score the I-th of N parts (default: everything)")
    add("--rows", type=whole(1), default=5000, help="rows in a file; interrupting loses no more (default: %(default)s)")
    add(
        "--max-refused",
        type=share,
        default=0.1,
        metavar="SHARE",
        help="exit code 3 where more of this run's images are refused (default: %(default)s)",
    )
    add("--device", default="cpu", help="cpu or cuda, without --url (default: %(default)s)")
    add("--architecture", help="timm's name, for a checkpoint without it")
    add("--labels", type=Path, help="a file of labels, for a checkpoint without them")
    add("--preprocessing", type=Path, help="a pipeline for a checkpoint (default: timm's)")
    add("--clients", type=whole(1), default=8, help="concurrent requests to a server (default: %(default)s)")
    add("--management", metavar="URL", help="the server's management API, asked how the scores are calibrated already")
    return parser


if __name__ == "__main__":
    sys.exit(main())
