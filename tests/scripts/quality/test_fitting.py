"""Known results: what the mathematics says of scores whose law is known."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from synthetic import calibrated_scores, sharpened

from handler.calibration import Calibration
from scripts.quality.fitting import Method, calibrated, fit, log_loss, logits, out_of_fold
from scripts.quality.measures import Decided, Measures
from scripts.quality.objective import Objective
from scripts.quality.scores import UNKNOWN

F1 = Objective("f", 1)


def test_with_calibrated_scores_the_best_threshold_is_half_of_the_best_f1() -> None:
    """Lipton, Elkan and Naryanaswamy, Optimal thresholding of classifiers to maximize F1 measure, 2014."""
    scores, truth = calibrated_scores(200_000, 1)
    found = fit(scores, truth, F1, "none", 10)
    best = f1_score(truth[:, 0], scores[:, 0] >= found.thresholds[0])
    assert found.thresholds[0] == pytest.approx(best / 2, abs=0.02)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5])
def test_the_temperature_is_found_again(scale: float) -> None:
    scores, truth = calibrated_scores(50_000)
    found = fit(sharpened(scores, scale), truth, F1, "temperature", 10)
    np.testing.assert_allclose(found.calibration.scale, 1 / scale, rtol=0.03)
    assert not found.calibration.shift.any()


def test_platt_finds_scale_and_shift_of_each_label() -> None:
    scores, truth = calibrated_scores(50_000)
    bent = np.stack([sharpened(scores[:, 0], 2, 1), sharpened(scores[:, 1], 0.5, -1), scores[:, 2]], axis=1)
    found = fit(bent, truth, F1, "platt", 10)
    np.testing.assert_allclose(found.calibration.scale, [0.5, 2, 1], rtol=0.05)
    np.testing.assert_allclose(found.calibration.shift, [-0.5, 2, 0], atol=0.08)


def test_platt_agrees_with_logistic_regression_where_there_is_much_data() -> None:
    scores, truth = calibrated_scores(20_000, 1)
    bent = sharpened(scores, 2, 1)
    found = fit(bent, truth, F1, "platt", 10).calibration
    regression = LogisticRegression(C=np.inf, tol=1e-10).fit(logits(bent), truth[:, 0])
    assert found.scale[0] == pytest.approx(regression.coef_[0, 0], rel=1e-2)
    assert found.shift[0] == pytest.approx(regression.intercept_[0], abs=1e-2)


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_a_calibration_makes_the_truth_likelier(method: Method) -> None:
    scores, truth = calibrated_scores(5_000)
    bent = sharpened(scores, 3)
    found = fit(bent, truth, F1, method, 10)
    assert log_loss(calibrated(bent, found.calibration), truth) < log_loss(bent, truth)


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_separable_scores_give_finite_numbers(method: Method) -> None:
    truth = np.array([[0], [0], [1], [1]] * 10, dtype=np.int8)
    found = fit(truth.astype(np.float32), truth, F1, method, 2)
    assert np.isfinite([found.calibration.scale, found.calibration.shift, found.thresholds]).all()


def test_a_label_with_too_little_support_gets_the_threshold_of_all() -> None:
    scores, truth = calibrated_scores(1_000)
    truth[:, 1] = 0
    truth[:9, 1] = 1
    truth[:, 2] = UNKNOWN
    found = fit(scores, truth, F1, "temperature", 10)
    assert found.own.tolist() == [True, False, False]
    assert found.thresholds[1] == found.thresholds[2] == found.together != found.thresholds[0]


def test_unknown_truth_counts_for_nothing() -> None:
    scores, truth = calibrated_scores(2_000)
    half = truth.copy()
    half[1000:] = UNKNOWN
    one, other = (
        fit(scores[:images], seen[:images], F1, "platt", 10) for images, seen in ((1000, truth), (2000, half))
    )
    np.testing.assert_allclose(one.thresholds, other.thresholds)
    np.testing.assert_allclose(one.calibration.scale, other.calibration.scale)


def test_out_of_fold_tells_of_overfitting() -> None:
    """Scores that say nothing: fitted thresholds look good on a few images, and are not."""
    rng = np.random.default_rng(3)
    scores, truth = rng.random((60, 20)).astype(np.float32), (rng.random((60, 20)) < 0.3).astype(np.int8)
    found = fit(scores, truth, F1, "none", 2)
    in_sample = Decided(scores.astype(float), scores >= found.thresholds, truth)
    held_out = Decided(*out_of_fold(scores, truth, F1, "none", 2, 5, 0), truth)
    assert Measures(held_out)()["macro_f1"][0] < Measures(in_sample)()["macro_f1"][0] - 0.03


def test_every_image_is_held_out_once_and_a_seed_repeats_it() -> None:
    scores, truth = calibrated_scores(103)
    first = out_of_fold(scores, truth, F1, "none", 2, 5, 1)
    again = out_of_fold(scores, truth, F1, "none", 2, 5, 1)
    np.testing.assert_array_equal(first[0], scores.astype(np.float64))
    np.testing.assert_array_equal(first[1], again[1])


def test_no_calibration_gives_the_same_scores() -> None:
    scores = np.array([[0.0, 0.3, 1.0]], dtype=np.float32)
    np.testing.assert_array_equal(calibrated(scores, Calibration.none(3)), scores)
    assert np.isfinite(logits(scores)).all()
