from pathlib import Path

import numpy as np
import pytest
from synthetic import LABELS, calibrated_scores, origin, write_scores

from handler.errors import LoadError
from scripts.quality.scores import Row, joined, read_labelled, read_origin, read_scores, write_part

SCORES, TRUTH = calibrated_scores(10)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_scores(tmp_path, SCORES, TRUTH)
    rows = [Row("bad.jpg", None, "not_an_image", [-1, 0, 1]), Row("worse.jpg", None, "not_an_image", [0, 0, 0])]
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
    write_part(tmp_path / "scores-2-of-2-000000.parquet", other, [Row("a.jpg", [0, 0, 0], None, [0, 0, 0])])
    with pytest.raises(LoadError, match=r"scores-2-of-2-000000\.parquet: of another model or other data"):
        read_scores(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"no \*\.parquet, expected what scripts/score\.py wrote"):
        read_scores(tmp_path)
    (tmp_path / "a.parquet").write_text("PAR1")
    with pytest.raises(LoadError, match=r"a\.parquet: no scores"):
        read_origin(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").unlink()
    write_part(tmp_path / "scores-1-of-1-000000.parquet", origin(), [Row("a.jpg", None, "unreadable", [0, 0, 0])])
    with pytest.raises(LoadError, match="no image was classified"):
        read_scores(tmp_path)


def test_scores_without_truth_are_refused_where_it_is_needed(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="truth: no positives or no negatives, expected data with labels"):
        read_labelled(write_scores(tmp_path, SCORES, np.full_like(TRUTH, -1)))


def test_a_calibration_that_is_not_known(tmp_path: Path) -> None:
    scores = read_scores(write_scores(tmp_path, SCORES, TRUTH, origin(calibration=None)))
    with pytest.raises(LoadError, match="calibration: not known, expected scores of an archive"):
        _ = scores.calibration


def test_images_are_joined_by_path(tmp_path: Path) -> None:
    first = read_scores(write_scores(tmp_path / "1", SCORES, TRUTH))
    second = read_scores(write_scores(tmp_path / "2", SCORES[4::-1], TRUTH[4::-1]))
    mine, other = joined(first, second)
    assert mine.paths == other.paths == [f"{number}.jpg" for number in range(5)]
    np.testing.assert_array_equal(other.scores[0], SCORES[4])
    foreign = read_scores(write_scores(tmp_path / "3", SCORES, TRUTH, prefix="other"))
    with pytest.raises(LoadError, match="no image in common"):
        joined(first, foreign)
    renamed = origin(labels=LABELS[::-1])
    with pytest.raises(
        LoadError,
        match=r"labels: \['cat', 'bee', 'ant'\]…, expected \['ant', 'bee', 'cat'\]…: the same ones in the same order",
    ):
        joined(first, read_scores(write_scores(tmp_path / "4", SCORES, TRUTH, renamed)))
