from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from synthetic import LABELS, calibrated_scores, image, origin, write_scores

from handler.errors import LoadError
from scripts.quality.parquet import read_labelled, read_origin, read_scores, write_part
from scripts.quality.scores import Row, joined

SCORES, TRUTH = calibrated_scores(10)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_scores(tmp_path, SCORES, TRUTH)
    rows = [
        Row("bad.jpg", None, "not_an_image", [-1, 0, 1], image("bad.jpg")),
        Row("worse.jpg", None, "not_an_image", [0, 0, 0], None),
    ]
    write_part(tmp_path / "scores-1-of-1-000001.parquet", origin(), rows)
    scores = read_scores(tmp_path)
    np.testing.assert_array_equal(scores.scores, SCORES)
    np.testing.assert_array_equal(scores.truth, TRUTH)
    assert scores.errors == {"not_an_image": 2}
    assert (scores.labels, scores.paths[:2]) == (LABELS, ["0.jpg", "1.jpg"])
    first = read_scores(tmp_path / "scores-1-of-1-000000.parquet")
    assert read_scores(tmp_path).sha256 == scores.sha256 != first.sha256


def test_scores_of_several_models_are_not_mixed(tmp_path: Path) -> None:
    write_scores(tmp_path, SCORES, TRUTH)
    other = origin(model={"name": "cats", "version": "2.0", "sha256": ""})
    write_part(tmp_path / "scores-1-of-1-000001.parquet", other, [Row("a.jpg", [0, 0, 0], None, [0, 0, 0], image("a"))])
    with pytest.raises(LoadError, match=r"scores-1-of-1-000001\.parquet: of another model or other data"):
        read_scores(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"no \*\.parquet, expected what scripts/score\.py wrote"):
        read_scores(tmp_path)
    (tmp_path / "a.parquet").write_text("PAR1")
    with pytest.raises(LoadError, match=r"a\.parquet: no scores"):
        read_origin(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").unlink()
    write_part(tmp_path / "scores-1-of-1-000000.parquet", origin(), [Row("a.jpg", None, "unreadable", [0, 0, 0], None)])
    with pytest.raises(LoadError, match="no image was classified"):
        read_scores(tmp_path)


def test_scores_without_truth_are_refused_where_it_is_needed(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="truth: no positives or no negatives, expected data with labels"):
        read_labelled(write_scores(tmp_path, SCORES, np.full_like(TRUTH, -1)))


def test_a_calibration_that_is_not_known(tmp_path: Path) -> None:
    scores = read_scores(write_scores(tmp_path, SCORES, TRUTH, origin(calibration=None)))
    with pytest.raises(LoadError, match="calibration: not known, expected scores of an archive"):
        _ = scores.calibration


def test_images_are_joined_by_content(tmp_path: Path) -> None:
    first = read_scores(write_scores(tmp_path / "1", SCORES, TRUTH))
    second = read_scores(_written(tmp_path / "2", _rows()[4::-1]))
    mine, other = joined(first, second)
    names = [f"{number}.jpg" for number in range(5)]
    assert [first.paths[place] for place in mine] == [second.paths[place] for place in other] == names
    foreign = read_scores(write_scores(tmp_path / "3", SCORES, TRUTH, prefix="other"))
    with pytest.raises(LoadError, match="no image in common"):
        joined(first, foreign)
    renamed = origin(labels=LABELS[::-1])
    with pytest.raises(
        LoadError,
        match=r"labels: \['cat', 'bee', 'ant'\]…, expected \['ant', 'bee', 'cat'\]…: the same ones in the same order",
    ):
        joined(first, read_scores(write_scores(tmp_path / "4", SCORES, TRUTH, renamed)))


def _written(directory: Path, rows: list[Row]) -> Path:
    directory.mkdir()
    write_part(directory / "scores-1-of-1-000000.parquet", origin(), rows)
    return directory


def _rows(*changes: tuple[int, str, Any]) -> list[Row]:
    """The ten images, each with changed fields: (number, field, value)."""
    rows = [
        Row(f"{number}.jpg", SCORES[number].tolist(), None, TRUTH[number].tolist(), image(f"{number}.jpg"))
        for number in range(10)
    ]
    for number, name, value in changes:
        rows[number] = replace(rows[number], **{name: value})
    return rows


def test_copies_are_counted_once(tmp_path: Path) -> None:
    same = (7, "image", image("3.jpg")), (7, "truth", [-1, *TRUTH[3, 1:].tolist()])
    scores = read_labelled(_written(tmp_path / "1", _rows(*same)))
    assert scores.paths == [f"{number}.jpg" for number in range(10) if number != 7]
    assert scores.copies == 1
    assert scores.cautions == ["caution  1 rows are copies of other rows' images, and aren't counted"]
    other = (7, "image", image("3.jpg")), (7, "truth", (1 - TRUTH[3]).tolist())
    with pytest.raises(LoadError, match=r"3\.jpg and 7\.jpg are the same image with different truth"):
        read_labelled(_written(tmp_path / "2", _rows(*other)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            (3, "scores", [0.5, float("nan"), 0.5]),
            r"3\.jpg: a score of \[0\.5, nan, 0\.5\], expected numbers from 0 to 1",
        ),
        ((3, "scores", [0.5, 1.7, 0.5]), r"3\.jpg: a score of \[0\.5, 1\.7"),
        ((3, "truth", [0, 2, 0]), r"truth: \[0, 1, 2\], expected 1, 0 or -1"),
        ((3, "path", "4.jpg"), r"4\.jpg: scored twice, expected each image once"),
    ],
)
def test_rows_that_can_not_be(tmp_path: Path, change: tuple[int, str, Any], message: str) -> None:
    with pytest.raises(LoadError, match=message):
        read_scores(_written(tmp_path / "1", _rows(change)))


def test_scores_of_before_are_to_be_made_again(tmp_path: Path) -> None:
    path = write_scores(tmp_path, SCORES, TRUTH) / "scores-1-of-1-000000.parquet"
    pq.write_table(pq.read_table(path).drop_columns("image"), path)
    with pytest.raises(LoadError, match="image: missing, expected the hash of each image: score again"):
        read_scores(tmp_path)


def test_other_truth_or_other_images_under_the_same_names_are_not_compared(tmp_path: Path) -> None:
    first = read_scores(write_scores(tmp_path / "1", SCORES, TRUTH))
    flipped = (2, "truth", [1 - TRUTH[2, 0], *TRUTH[2, 1:].tolist()])
    with pytest.raises(LoadError, match=r"truth: 1 labels differ between the two versions' data, as 'ant' of 2\.jpg"):
        joined(first, read_scores(_written(tmp_path / "2", _rows(flipped))))
    with pytest.raises(LoadError, match=r"5\.jpg: another image in the other version's data"):
        joined(first, read_scores(_written(tmp_path / "3", _rows((5, "image", image("new"))))))
    unknown = (2, "truth", [-1, *TRUTH[2, 1:].tolist()])
    assert len(joined(first, read_scores(_written(tmp_path / "4", _rows(unknown))))[0]) == 10


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    partly = TRUTH.copy()
    partly[:5, 0] = -1
    [line] = read_scores(write_scores(tmp_path, SCORES, partly)).cautions
    assert line.startswith("caution  16.7 % of the truth is not known: exact match looks better than it is")
