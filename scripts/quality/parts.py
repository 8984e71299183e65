"""The files in a directory of scores: their names, and whether together they hold every image once.

scripts/score.py writes shard I of N into scores-I-of-N-000000.parquet, scores-I-of-N-000001.parquet, …
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from handler.errors import LoadError

Shard = tuple[int, int]  # I of N: every N-th image, beginning with the I-th
WHOLE: Shard = (1, 1)
NAME = re.compile(r"scores-([1-9]\d*)-of-([1-9]\d*)-(\d{6,})\.parquet")


@dataclass(frozen=True)
class Part:
    path: Path
    shard: Shard
    number: int  # within its shard, from 0


def part_name(shard: Shard, number: int) -> str:
    return f"scores-{shard[0]}-of-{shard[1]}-{number:06d}.parquet"


def find_parts(directory: Path) -> list[Part]:
    """Every Parquet file in the directory, ordered by name. Raises LoadError for one that score.py doesn't write."""
    parts = []
    for path in sorted(directory.glob("*.parquet")):
        match = NAME.fullmatch(path.name)
        if match is None:
            raise LoadError(path, "unknown file name, expected only files that scripts/score.py wrote")
        index, count, number = map(int, match.groups())
        parts.append(Part(path, (index, count), number))
    return parts


def shard_size(images: int, shard: Shard) -> int:
    """How many of so many images belong to a shard."""
    return len(range(shard[0] - 1, images, shard[1]))


def check_same_split(parts: Sequence[Part], count: int) -> None:
    """Raises LoadError, which names the first file of a data set that was split into another number of shards."""
    for part in parts:
        if part.shard[1] != count:
            problem = f"a shard of {part.shard[1]} beside shards of {count}, which hold the same images"
            raise LoadError(part.path, f"{problem}; expected one directory for each way to split")


def check_complete(directory: Path, parts: Sequence[Part], images: int | None) -> None:
    """Raises LoadError, which names what is missing, incomplete or scored twice.

    images: in the data, all shards together; None where the files don't say.
    """
    count = parts[0].shard[1]
    check_same_split(parts, count)
    # With fewer images than shards the last shards are empty and have no files.
    expected = count if images is None else min(count, images)
    missing = sorted(set(range(1, expected + 1)) - {part.shard[0] for part in parts})
    if missing:
        names = ", ".join(f"{index}/{count}" for index in missing)
        raise LoadError(directory, f"shard {names} is missing, expected all {count}: run scripts/score.py --shard")
    for shard in sorted({part.shard for part in parts}):
        _check_shard(directory, shard, [part for part in parts if part.shard == shard], images)


def _check_shard(directory: Path, shard: Shard, parts: Sequence[Part], images: int | None) -> None:
    numbers = {part.number for part in parts}
    gaps = sorted(set(range(max(numbers))) - numbers)
    if gaps:
        names = ", ".join(part_name(shard, number) for number in gaps)
        raise LoadError(directory, f"{names} is missing, expected every file of a shard")
    if images is None:
        return
    rows, size = sum(pq.read_metadata(part.path).num_rows for part in parts), shard_size(images, shard)
    if rows != size:
        advice = "run the same scripts/score.py command again" if rows < size else "use a new --output for scores"
        raise LoadError(
            directory, f"shard {shard[0]}/{shard[1]} has {rows} rows, expected {size}, one for each image: {advice}"
        )
