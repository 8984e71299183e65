"""Who judges: photos that nothing was made with, chosen by what they are."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import calibrated_scores, origin, write_scores

from handler.errors import LoadError
from scripts import calibrate
from scripts.quality.fitted import describe_images, fit_settings
from scripts.quality.judgement import judge, split
from scripts.quality.measures import OVERALL
from scripts.quality.parquet import read_scores
from scripts.quality.scores import Scores

DATA = Path("data.csv")
SCALED = {name: {"scale": 2.0, "shift": 0.0} for name in ("ant", "bee", "cat")}


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Scores:
    return read_scores(write_scores(tmp_path_factory.mktemp("judgement") / "scores", *calibrated_scores(200)))


def test_a_quarter_at_the_most_makes_it_and_all_others_judge(scores: Scores) -> None:
    for photos, expected in ((300, 50), (10, 10)):
        used, judged = split(scores, photos, 0, DATA)
        assert (len(used), len(judged)) == (expected, 200 - expected)
        assert not set(used) & set(judged)


def test_the_content_decides_and_not_the_order(scores: Scores) -> None:
    def names(scores: Scores, seed: int = 0) -> set[str]:
        return {scores.paths[place] for place in split(scores, 300, seed, DATA)[0]}

    backwards = scores.only(np.arange(200)[::-1])
    assert names(backwards) == names(scores)
    assert names(scores, seed=1) != names(scores)


def _fitted(scores: Scores, count: int, tmp_path: Path) -> Scores:
    """As scored by an archive that was calibrated on the first of them."""
    directory = write_scores(tmp_path / "fit", scores.scores[:count], scores.truth[:count])
    assert calibrate.main([str(directory), "--output", str(tmp_path / "c.json")]) == 0
    settings = fit_settings(json.loads((tmp_path / "c.json").read_text())["provenance"])
    return replace(scores, origin=origin(calibration=SCALED, fit=settings))


def test_photos_that_were_fitted_on_make_it_first_and_never_judge(scores: Scores, tmp_path: Path) -> None:
    fitted = _fitted(scores, 60, tmp_path)
    assert fitted.origin.fit is not None
    assert fitted.origin.fit["fitted_on"] == describe_images(scores.images[:60])
    used, judged = split(fitted, 40, 0, DATA)
    assert set(used) < set(range(60))
    assert list(judged) == list(range(60, 200))
    used, judged = split(fitted, 300, 0, DATA)
    assert set(range(60)) < set(used)
    assert len(used) == 60 + 140 // 4
    assert len(judged) == 140 - 140 // 4


def test_without_a_judge_it_stops(scores: Scores, tmp_path: Path) -> None:
    with pytest.raises(
        LoadError, match=r"data\.csv: 50 photos, and the archive was fitted on 50 of them: none is left"
    ):
        split(_fitted(scores, 60, tmp_path).only(range(50)), 300, 0, DATA)
    with pytest.raises(LoadError, match=r"data\.csv: 1 photos, and .* on 0 of them: none is left"):
        split(scores.only([0]), 300, 0, DATA)
    with pytest.raises(LoadError, match="does not say on which photos it was fitted"):
        split(replace(scores, origin=origin(calibration=SCALED)), 300, 0, DATA)


def test_only_those_that_judge_are_compared(scores: Scores) -> None:
    _, judged = split(scores, 300, 0, DATA)
    comparison = judge(scores, scores.only(np.arange(200)[::-1]), judged, 0.02, 50, 0)
    assert comparison.paths == [scores.paths[place] for place in judged]
    assert comparison.margin == 0.02
    assert [comparison.differences[name].value for name in OVERALL] == [0] * len(OVERALL)
