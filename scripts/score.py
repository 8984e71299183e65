#!/usr/bin/env python3
"""Scores a dataset: by an archive or a checkpoint in this process, or by a running server → Parquet.

The data is a folder, or a .csv, .jsonl or .parquet with a column `path` and, where they are known, labels: see
docs/quality.md. A file that is no image, or one that the model refuses, becomes a row with the error's code. What was
written before is kept: start it again and it goes on. `--shard 2/8` does the second of eight parts, on any machine.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from handler.errors import LoadError
from scripts.arguments import whole
from scripts.quality.dataset import Sample, read_samples, root
from scripts.quality.scorers import InProcess, OverHttp, Scorer
from scripts.quality.scores import Row, read_origin, read_paths, write_part
from scripts.server.client import ApiError
from scripts.server.torchserve import ServerError

UNREADABLE = "unreadable"  # the code of a file that isn't there, or can't be read


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when all is scored, 1 when something stops it."""
    options = _parser().parse_args(arguments)
    try:
        scorer: Scorer
        if options.url is not None:
            scorer = OverHttp(options.url, options.clients, options.management)
        else:
            recipe = {key: vars(options)[key] for key in ("architecture", "labels", "preprocessing")}
            scorer = InProcess(options.source, options.device, recipe)
        scored, failed = score(scorer, options.data, options.output, options.shard, options.rows)
    except (LoadError, ServerError, ApiError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped  the same command goes on where it was", file=sys.stderr)
        return 130
    print(f"scored   {scored} images, {failed} of them refused\nwrote    {options.output}")
    return 0


def score(scorer: Scorer, data: Path, output: Path, shard: tuple[int, int], rows: int) -> tuple[int, int]:
    """Returns how many images it met now, and how many of them failed. Raises LoadError where `output` holds others."""
    total = sum(1 for _ in _share(read_samples(data, scorer.labels), shard))  # what is wrong in a list shows at once
    origin = scorer.origin(data)
    output.mkdir(parents=True, exist_ok=True)
    stem = f"scores-{shard[0]}-of-{shard[1]}"
    done = sorted(output.glob(f"{stem}-*.parquet"))
    samples = _share(read_samples(data, scorer.labels), shard)
    for file in done:
        if read_origin(file) != origin:
            raise LoadError(file, "of another model or other data, expected a new --output")
    before = _skip(samples, read_paths(done), output)
    failed = 0
    with tqdm(total=total, initial=before, unit=" images", disable=None) as bar:
        for number in range(len(done), sys.maxsize):
            part: list[Row] = []
            while len(part) < rows and (chunk := list(islice(samples, min(scorer.at_once, rows - len(part))))):
                part += _rows(scorer, chunk, root(data))
                bar.update(len(chunk))
            if not part:
                break
            write_part(output / f"{stem}-{number:06d}.parquet", origin, part)
            failed += sum(row.error is not None for row in part)
    return total - before, failed


def _share(samples: Iterator[Sample], shard: tuple[int, int]) -> Iterator[Sample]:
    return islice(samples, shard[0] - 1, None, shard[1])


def _skip(samples: Iterator[Sample], paths: Iterator[str], output: Path) -> int:
    """How many are done. Raises LoadError where they were others."""
    count = 0
    for path in paths:
        sample = next(samples, None)
        if sample is None or sample.path != path:
            raise LoadError(output, f"{path}: not where it was in the data, expected a new --output")
        count += 1
    return count


def _rows(scorer: Scorer, samples: Sequence[Sample], base: Path) -> list[Row]:
    """Files that can't be read never reach the scorer."""
    images: list[bytes | None] = []
    for sample in samples:
        try:
            images.append((base / sample.path).read_bytes())
        except OSError:
            images.append(None)
    outcomes = iter(scorer.score([image for image in images if image is not None]))
    found = [UNREADABLE if image is None else next(outcomes) for image in images]
    return [
        Row(sample.path, None, one, sample.truth) if isinstance(one, str) else Row(sample.path, one, None, sample.truth)
        for sample, one in zip(samples, found, strict=True)
    ]


def _shard(text: str) -> tuple[int, int]:
    mine, _, of = text.partition("/")
    if not (mine.isdecimal() and of.isdecimal() and 1 <= int(mine) <= int(of)):
        raise argparse.ArgumentTypeError(f"{text!r}, expected I/N with I from 1 to N")
    return int(mine), int(of)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    by: Any = parser.add_mutually_exclusive_group(required=True)
    by.add_argument("source", nargs="?", type=Path, help="a .mar, or a checkpoint that build_archive takes")
    by.add_argument("--url", help="of a running server: http://127.0.0.1:8080/predictions/NAME")
    add("--data", type=Path, required=True, help="a folder, .csv, .jsonl or .parquet")
    add("--output", type=Path, required=True, metavar="DIR", help="where the Parquet files go")
    add("--shard", type=_shard, default=(1, 1), metavar="I/N", help="this part of the data alone (default: all)")
    add("--rows", type=whole(1), default=5000, help="of a file; an interrupted one is lost (default: %(default)s)")
    add("--device", default="cpu", help="cpu or cuda, in this process (default: %(default)s)")
    add("--architecture", help="of a checkpoint that doesn't say")
    add("--labels", type=Path, help="of a checkpoint that doesn't say")
    add("--preprocessing", type=Path, help="of a checkpoint, if not timm's")
    add("--clients", type=whole(1), default=8, help="that ask a server side by side (default: %(default)s)")
    add("--management", metavar="URL", help="of that server, so that the scores say how they are calibrated already")
    return parser


if __name__ == "__main__":
    sys.exit(main())
