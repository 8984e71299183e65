"""Scores that aren't of every image once are refused by name, before anything is made of them."""

from itertools import islice
from pathlib import Path

import pytest
from synthetic import calibrated_scores, image, origin

from handler.errors import LoadError
from scripts import calibrate, evaluate
from scripts.quality.parquet import read_scores, write_part
from scripts.quality.parts import Shard, part_name, shard_size
from scripts.quality.scores import Row

IMAGES = 20


def write(directory: Path, shard: Shard, sizes: list[int], images: int | None = IMAGES) -> None:
    """A shard whose files have so many rows."""
    directory.mkdir(exist_ok=True)
    places = iter(range(shard[0] - 1, 1_000, shard[1]))
    scores, truth = calibrated_scores(1_000)
    for number, size in enumerate(sizes):
        rows = [
            Row(f"{place}.jpg", scores[place].tolist(), None, truth[place].tolist(), image(f"{place}.jpg"))
            for place in islice(places, size)
        ]
        write_part(directory / part_name(shard, number), origin(images=images, shards=shard[1]), rows)


@pytest.mark.parametrize("images", [IMAGES, None])
def test_all_shards_are_read(tmp_path: Path, images: int | None) -> None:
    for index, sizes in enumerate(([5, 2], [5, 2], [6]), 1):
        write(tmp_path, (index, 3), sizes, images)
    assert sorted(read_scores(tmp_path).paths) == sorted(f"{number}.jpg" for number in range(IMAGES))


def test_another_split_beside_it(tmp_path: Path) -> None:
    write(tmp_path, (1, 1), [IMAGES])
    write(tmp_path, (1, 2), [10])
    write(tmp_path, (2, 2), [10])
    with pytest.raises(LoadError, match=r"scores-1-of-2-000000\.parquet: a shard of 2 beside shards of 1, which hold"):
        read_scores(tmp_path)


@pytest.mark.parametrize("images", [IMAGES, None])
def test_missing_shards_are_listed(tmp_path: Path, images: int | None) -> None:
    for index in (1, 2, 4, 5, 6, 8):
        write(tmp_path, (index, 8), [shard_size(IMAGES, (index, 8))], images)
    with pytest.raises(LoadError, match=r"shard 3/8, 7/8 is missing, expected all 8: run scripts/score\.py --shard"):
        read_scores(tmp_path)


@pytest.mark.parametrize("images", [IMAGES, None])
def test_missing_files_are_listed(tmp_path: Path, images: int | None) -> None:
    write(tmp_path, (1, 1), [8, 4, 4, 4], images)
    (tmp_path / part_name((1, 1), 0)).unlink()
    (tmp_path / part_name((1, 1), 2)).unlink()
    names = r"scores-1-of-1-000000\.parquet, scores-1-of-1-000002\.parquet is missing"
    with pytest.raises(LoadError, match=names):
        read_scores(tmp_path)


def test_an_interrupted_shard(tmp_path: Path) -> None:
    write(tmp_path, (1, 2), [5, 5])
    write(tmp_path, (2, 2), [5])
    with pytest.raises(
        LoadError, match=r"shard 2/2 has 5 rows, expected 10, one for each image: run the same scripts/score"
    ):
        read_scores(tmp_path)


def test_images_that_were_scored_twice(tmp_path: Path) -> None:
    write(tmp_path, (1, 1), [IMAGES, 5])
    with pytest.raises(LoadError, match=r"shard 1/1 has 25 rows, expected 20, one for each image: use a new --output"):
        read_scores(tmp_path)


def test_a_file_of_another_name(tmp_path: Path) -> None:
    write(tmp_path, (1, 1), [IMAGES])
    (tmp_path / "scores-1-of-1-000000 (copy).parquet").write_bytes((tmp_path / part_name((1, 1), 0)).read_bytes())
    with pytest.raises(
        LoadError, match=r"\(copy\)\.parquet: unknown file name, expected only files that scripts/score"
    ):
        read_scores(tmp_path)


def test_shards_without_images_have_no_files(tmp_path: Path) -> None:
    for index in (1, 2):
        write(tmp_path, (index, 5), [1], images=2)
    assert read_scores(tmp_path).paths == ["0.jpg", "1.jpg"]


def test_data_that_grew_between_two_shards(tmp_path: Path) -> None:
    write(tmp_path, (1, 2), [10], images=IMAGES)
    write(tmp_path, (2, 2), [10], images=IMAGES + 1)
    with pytest.raises(LoadError, match=r"other data than scores-1-of-2-000000\.parquet \(images\), expected the same"):
        read_scores(tmp_path)


def test_one_file_by_its_own_name_is_what_was_asked_for(tmp_path: Path) -> None:
    write(tmp_path, (1, 2), [5, 5])
    assert len(read_scores(tmp_path / part_name((1, 2), 1)).paths) == 5


def test_nothing_is_written_from_incomplete_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, target = tmp_path / "scores", tmp_path / "out"
    write(scores, (1, 2), [10])
    assert calibrate.main([str(scores), "--output", str(target / "calibration.json")]) == 1
    flags = [f"--{name}={target / name}" for name in ("json", "card", "report")]
    assert evaluate.main([str(scores), *flags]) == 1
    assert capsys.readouterr().err.count("shard 2/2 is missing") == 2
    assert not target.exists()
