import numpy as np
import pytest
from sklearn import metrics as reference
from synthetic import calibrated_scores, sharpened

from scripts.quality.bootstrap import estimate, resample_weights
from scripts.quality.measures import BINS, OVERALL, PER_LABEL, Decisions, Measures, reliability
from scripts.quality.scores import UNKNOWN


def decisions(images: int = 400, seed: int = 0) -> Decisions:
    scores, truth = calibrated_scores(images, 4, seed)
    truth[:, 3] = 0  # a label that no image has
    rounded = scores.astype(np.float64).round(1)  # many equal scores
    return Decisions(rounded, rounded >= 0.4, truth)


def all_images(example: Decisions) -> dict[str, float]:
    return {name: float(value[0]) for name, value in Measures(example)().items() if name in OVERALL}


def test_measures_over_all_labels_equal_scikit_learns() -> None:
    example = decisions()
    found = all_images(example)
    known = slice(0, 3)
    for average in ("micro", "macro"):
        columns = slice(0, 4) if average == "micro" else known
        expected = reference.precision_recall_fscore_support(
            example.truth[:, columns], example.fired[:, columns], average=average, zero_division=0
        )
        assert [found[f"{average}_{name}"] for name in ("precision", "recall", "f1")] == pytest.approx(expected[:3])
    assert found["map"] == pytest.approx(
        reference.average_precision_score(example.truth[:, known], example.scores[:, known])
    )
    assert found["exact_match"] == pytest.approx(reference.accuracy_score(example.truth, example.fired))
    assert found["hamming_loss"] == pytest.approx(reference.hamming_loss(example.truth, example.fired))


def test_measures_per_label_equal_scikit_learns() -> None:
    example = decisions()
    found = Measures(example)()
    expected = reference.precision_recall_fscore_support(example.truth, example.fired, zero_division=np.nan)
    for name, values in zip(("precision", "recall", "f1"), expected, strict=False):
        np.testing.assert_allclose(found[name][0][:3], values[:3])
    assert np.isnan(found["recall"][0][3])
    assert np.isnan(found["average_precision"][0][3])


def test_a_weight_counts_an_image_several_times() -> None:
    example = decisions(50)
    weights = next(resample_weights(50, 3, 1))
    found = Measures(example)(weights)
    for row, weight in enumerate(weights.T.astype(int)):
        again = np.repeat(np.arange(50), weight)
        copied = all_images(Decisions(example.scores[again], example.fired[again], example.truth[again]))
        for name in OVERALL:
            assert found[name][row] == pytest.approx(copied[name], nan_ok=True), name


def test_unknown_truth_is_left_out() -> None:
    example = decisions(100)
    hidden = example.truth.copy()
    hidden[60:] = UNKNOWN
    part = all_images(Decisions(example.scores[:60], example.fired[:60], example.truth[:60]))
    assert all_images(Decisions(example.scores, example.fired, hidden)) == pytest.approx(part, nan_ok=True)


def test_calibration_error_of_known_scores() -> None:
    scores, truth = calibrated_scores(100_000)
    good = Decisions(scores.astype(np.float64), scores >= 0.5, truth)
    bent = sharpened(scores, 3).astype(np.float64)
    assert all_images(good)["calibration_error"] < 0.01
    assert all_images(Decisions(bent, bent >= 0.5, truth))["calibration_error"] > 0.05
    sure = Decisions(np.full((10, 1), 0.99), np.ones((10, 1), dtype=bool), np.zeros((10, 1), dtype=np.int8))
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
        found = estimate(decisions(images), 200, 0).intervals
        assert set(found) >= {*OVERALL, *PER_LABEL}
        [interval] = found["micro_f1"]
        assert interval.low < interval.value < interval.high
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0] / 2.5  # a quarter, as sixteen times the images should give


def test_intervals_cover_the_truth_in_about_95_percent() -> None:
    """Of 60 intervals, 57 (95 %) should hold the value of a large data set; fewer than 50 would be wrong."""
    [right] = estimate(decisions(100_000, 9), 1, 0).intervals["micro_f1"]
    intervals = [estimate(decisions(150, seed), 200, seed).intervals["micro_f1"][0] for seed in range(60)]
    assert sum(interval.low <= right.value <= interval.high for interval in intervals) >= 50


def test_a_paired_difference_shows_where_the_intervals_overlap() -> None:
    example = decisions(300)
    better = example.fired.copy()
    wrong = np.argwhere(better != (example.truth == 1))[:15]
    better[tuple(wrong.T)] ^= True
    second = Decisions(example.scores, better, example.truth)
    estimates = [estimate(version, 200, 0) for version in (example, second)]
    first, other = (version.intervals["micro_f1"][0] for version in estimates)
    assert first.high > other.low
    assert estimates[1].minus(estimates[0]).intervals("micro_f1")[0].low > 0
    [same] = estimates[0].minus(estimates[0]).intervals("micro_f1")
    assert same.value == 0
    assert np.isnan([same.low, same.high]).all(), "no interval of zero width"


def test_the_calibration_error_of_a_perfect_calibration() -> None:
    """Of 100 perfectly calibrated data sets, about 5 show more than the limit; of overconfident ones, all do."""
    beyond = [0, 0]
    means, shown = [], []
    for seed in range(100):
        scores, truth = calibrated_scores(200, 5, seed)
        for place, each in enumerate((scores, sharpened(scores, 2))):
            measures = Measures(Decisions(each.astype(np.float64), each >= 0.5, truth))
            mean, limit = measures.perfect_calibration()
            error = float(measures()["calibration_error"][0])
            beyond[place] += error > limit
            if place == 0:
                means.append(mean)
                shown.append(error)
    assert beyond[0] <= 11
    assert beyond[1] >= 99
    assert np.mean(shown) == pytest.approx(np.mean(means), rel=0.1)


def test_labels_without_enough_images_have_no_part_in_a_mean_that_has_an_interval() -> None:
    scores, truth = calibrated_scores(400, 4)
    truth[:, 3] = 0
    truth[:19, 3] = 1
    found = estimate(Decisions(scores.astype(np.float64), scores >= 0.4, truth), 100, 0)
    assert not found.all_supported("map")
    [whole], [supported] = found.intervals["map"], found.intervals["map_supported"]
    assert np.isnan([whole.low, whole.high]).all()
    assert supported.value == pytest.approx(found.values["average_precision"][:3].mean())
    assert supported.low < supported.value < supported.high
