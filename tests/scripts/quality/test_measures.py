import numpy as np
import pytest
from sklearn import metrics as reference
from synthetic import calibrated_scores, sharpened

from scripts.quality.bootstrap import estimate, resampled
from scripts.quality.measures import A_LABEL, BINS, OVERALL, Decided, Measures, reliability
from scripts.quality.scores import UNKNOWN


def decided(images: int = 400, seed: int = 0) -> Decided:
    scores, truth = calibrated_scores(images, 4, seed)
    truth[:, 3] = 0  # a label that no image has
    rounded = scores.astype(np.float64).round(1)  # many equal scores
    return Decided(rounded, rounded >= 0.4, truth)


def all_images(each: Decided) -> dict[str, float]:
    return {name: float(value[0]) for name, value in Measures(each)().items() if name in OVERALL}


def test_scikit_learn_says_the_same() -> None:
    each = decided()
    found = all_images(each)
    known = slice(0, 3)
    for average in ("micro", "macro"):
        columns = slice(0, 4) if average == "micro" else known
        expected = reference.precision_recall_fscore_support(
            each.truth[:, columns], each.fired[:, columns], average=average, zero_division=0
        )
        assert [found[f"{average}_{name}"] for name in ("precision", "recall", "f1")] == pytest.approx(expected[:3])
    assert found["map"] == pytest.approx(reference.average_precision_score(each.truth[:, known], each.scores[:, known]))
    assert found["exact_match"] == pytest.approx(reference.accuracy_score(each.truth, each.fired))
    assert found["hamming_loss"] == pytest.approx(reference.hamming_loss(each.truth, each.fired))


def test_each_label_as_scikit_learn_has_it() -> None:
    each = decided()
    found = Measures(each)()
    expected = reference.precision_recall_fscore_support(each.truth, each.fired, zero_division=np.nan)
    for name, values in zip(("precision", "recall", "f1"), expected, strict=False):
        np.testing.assert_allclose(found[name][0][:3], values[:3])
    assert np.isnan(found["recall"][0][3])
    assert np.isnan(found["average_precision"][0][3])


def test_weights_are_images_that_come_again() -> None:
    each = decided(50)
    weights = next(resampled(50, 3, 1))
    found = Measures(each)(weights)
    for row, weight in enumerate(weights.T.astype(int)):
        again = np.repeat(np.arange(50), weight)
        copied = all_images(Decided(each.scores[again], each.fired[again], each.truth[again]))
        for name in OVERALL:
            assert found[name][row] == pytest.approx(copied[name], nan_ok=True), name


def test_unknown_truth_counts_for_nothing() -> None:
    each = decided(100)
    hidden = each.truth.copy()
    hidden[60:] = UNKNOWN
    part = all_images(Decided(each.scores[:60], each.fired[:60], each.truth[:60]))
    assert all_images(Decided(each.scores, each.fired, hidden)) == pytest.approx(part, nan_ok=True)


def test_calibration_error_of_known_scores() -> None:
    scores, truth = calibrated_scores(100_000)
    good = Decided(scores.astype(np.float64), scores >= 0.5, truth)
    bent = sharpened(scores, 3).astype(np.float64)
    assert all_images(good)["calibration_error"] < 0.01
    assert all_images(Decided(bent, bent >= 0.5, truth))["calibration_error"] > 0.05
    sure = Decided(np.full((10, 1), 0.99), np.ones((10, 1), dtype=bool), np.zeros((10, 1), dtype=np.int8))
    assert all_images(sure)["calibration_error"] == pytest.approx(0.99)


def test_reliability_by_hand() -> None:
    scores = np.array([0.01, 0.02, 0.99, 0.5])
    score, share, count = reliability(scores, np.array([0, 1, 1, UNKNOWN], dtype=np.int8))
    assert (score[0], share[0], count[0]) == (pytest.approx(0.015), 0.5, 2)
    assert (share[BINS - 1], count.sum()) == (1, 3)
    assert np.isnan(score[7])


def test_intervals_hold_the_value_and_shrink_with_more_images() -> None:
    widths = []
    for images in (200, 3200):
        found = estimate(decided(images), 200, 0).intervals
        assert set(found) == {*OVERALL, *A_LABEL}
        [interval] = found["micro_f1"]
        assert interval.low < interval.value < interval.high
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0] / 2.5  # a quarter, as sixteen times the images should give


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Of 60 data sets, 95 % of the intervals should hold what much data gives: 57; fewer than 50 would be wrong."""
    [right] = estimate(decided(100_000, 9), 1, 0).intervals["micro_f1"]
    intervals = [estimate(decided(150, seed), 200, seed).intervals["micro_f1"][0] for seed in range(60)]
    assert sum(each.low <= right.value <= each.high for each in intervals) >= 50


def test_a_paired_difference_is_told_where_the_intervals_alone_overlap() -> None:
    each = decided(300)
    better = each.fired.copy()
    wrong = np.argwhere(better != (each.truth == 1))[:15]
    better[tuple(wrong.T)] ^= True
    second = Decided(each.scores, better, each.truth)
    estimates = [estimate(version, 200, 0) for version in (each, second)]
    one, other = (found.intervals["micro_f1"][0] for found in estimates)
    assert one.high > other.low
    assert estimates[1].less(estimates[0]).intervals["micro_f1"][0].low > 0
    [same] = estimates[0].less(estimates[0]).intervals["micro_f1"]
    assert (same.low, same.value, same.high) == (0, 0, 0)
