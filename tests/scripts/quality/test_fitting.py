"""Fits to scores of a known distribution, against results of the literature and scikit-learn."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from synthetic import calibrated_scores, sharpened

from handler.calibration import Calibration
from scripts.quality.fitting import Method, Procedure, calibrated, fit, fold_numbers, log_loss, logits, out_of_fold
from scripts.quality.measures import Decisions, Measures
from scripts.quality.objective import Objective, choose
from scripts.quality.scores import UNKNOWN

IMAGES = np.random.default_rng(0).integers(0, 2**64, 1_000, dtype=np.uint64)


def how(method: Method, min_support: int = 10, seed: int = 0) -> Procedure:
    return Procedure(Objective("f", 1), method, min_support, seed=seed)


def test_with_calibrated_scores_the_best_threshold_is_half_of_the_best_f1() -> None:
    """Lipton, Elkan and Naryanaswamy, Optimal thresholding of classifiers to maximize F1 measure, 2014."""
    scores, truth = calibrated_scores(200_000, 1)
    fitted = fit(scores, truth, how("none", 10))
    best = f1_score(truth[:, 0], scores[:, 0] >= fitted.thresholds[0])
    assert fitted.thresholds[0] == pytest.approx(best / 2, abs=0.02)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5])
def test_the_temperature_is_recovered(scale: float) -> None:
    scores, truth = calibrated_scores(50_000)
    fitted = fit(sharpened(scores, scale), truth, how("temperature", 10))
    np.testing.assert_allclose(fitted.calibration.scale, 1 / scale, rtol=0.03)
    assert not fitted.calibration.shift.any()


def test_platt_recovers_scale_and_shift_of_each_label() -> None:
    scores, truth = calibrated_scores(50_000)
    bent = np.stack([sharpened(scores[:, 0], 2, 1), sharpened(scores[:, 1], 0.5, -1), scores[:, 2]], axis=1)
    fitted = fit(bent, truth, how("platt", 10))
    np.testing.assert_allclose(fitted.calibration.scale, [0.5, 2, 1], rtol=0.05)
    np.testing.assert_allclose(fitted.calibration.shift, [-0.5, 2, 0], atol=0.08)


def test_platt_equals_logistic_regression_on_much_data() -> None:
    scores, truth = calibrated_scores(20_000, 1)
    bent = sharpened(scores, 2, 1)
    fitted = fit(bent, truth, how("platt", 10)).calibration
    regression = LogisticRegression(C=np.inf, tol=1e-10).fit(logits(bent), truth[:, 0])
    assert fitted.scale[0] == pytest.approx(regression.coef_[0, 0], rel=1e-2)
    assert fitted.shift[0] == pytest.approx(regression.intercept_[0], abs=1e-2)


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_a_calibration_lowers_the_log_loss(method: Method) -> None:
    scores, truth = calibrated_scores(5_000)
    bent = sharpened(scores, 3)
    fitted = fit(bent, truth, how(method, 10))
    assert log_loss(calibrated(bent, fitted.calibration), truth) < log_loss(bent, truth)


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_separable_scores_give_finite_numbers(method: Method) -> None:
    truth = np.array([[0], [0], [1], [1]] * 10, dtype=np.int8)
    fitted = fit(truth.astype(np.float32), truth, how(method, 2))
    assert np.isfinite([fitted.calibration.scale, fitted.calibration.shift, fitted.thresholds]).all()


def test_a_threshold_of_few_images_is_drawn_towards_the_shared_one() -> None:
    scores, truth = calibrated_scores(1_000)
    truth[:, 1] = 0
    truth[:5, 1] = 1
    truth[:, 2] = UNKNOWN
    fitted = fit(scores, truth, how("temperature", 10))
    assert fitted.part.tolist() == pytest.approx([k / (k + 5) for k in ((truth[:, 0] == 1).sum(), 5, 0)])
    assert fitted.thresholds[2] == pytest.approx(fitted.shared)
    alone = choose(calibrated(scores, fitted.calibration)[:, 1], truth[:, 1] == 1, Objective("f", 1)).threshold
    assert logit(fitted.thresholds[1]) == pytest.approx((logit(alone) + logit(fitted.shared)) / 2)


def test_platt_goes_on_to_the_end_where_positives_are_rare() -> None:
    """The mean of the calibrated scores is then the share of positives, or nearly: Platt's targets add one of two."""
    rng = np.random.default_rng(0)
    z = rng.normal(-8, 2, 200_000)
    truth = (rng.random(len(z)) < expit(z - 2))[:, None].astype(np.int8)
    assert 10 < truth.sum() < 200
    scores = expit(z)[:, None]
    fitted = calibrated(scores, fit(scores, truth, how("platt")).calibration)
    assert fitted.sum() == pytest.approx(truth.sum(), rel=0.08)


def test_a_clean_set_does_not_drive_the_temperature_to_its_bound() -> None:
    scores, truth = calibrated_scores(40)
    truth = (scores > 0.5).astype(np.int8)
    fitted = fit(scores, truth, how("temperature"))
    assert not fitted.at_bound.any()
    assert 1 < fitted.calibration.scale[0] < 30


def test_saturated_scores_are_calibrated_as_they_are_served() -> None:
    """Scores as a server gives them, and what it would give with the calibration: from logits beyond ±16.6."""
    z = np.array([[-60.0], [-20.0], [0.0], [17.5]])
    scores = expit(z).astype(np.float32)
    assert scores[3] == 1
    calibration = Calibration(np.array([0.1]), np.array([0.0]))
    np.testing.assert_allclose(calibrated(scores, calibration), expit(z * 0.1), atol=0.005)


def test_the_folds_are_those_of_the_images_in_any_order() -> None:
    order = np.random.default_rng(1).permutation(len(IMAGES))
    folds = fold_numbers(IMAGES, 5, 3)
    np.testing.assert_array_equal(fold_numbers(IMAGES[order], 5, 3), folds[order])
    assert np.bincount(folds).tolist() == [200] * 5
    assert (fold_numbers(IMAGES, 5, 4) != folds).any()


def test_unknown_truth_is_left_out() -> None:
    scores, truth = calibrated_scores(2_000)
    half = truth.copy()
    half[1000:] = UNKNOWN
    first, other = (
        fit(scores[:images], known[:images], how("platt", 10)) for images, known in ((1000, truth), (2000, half))
    )
    np.testing.assert_allclose(first.thresholds, other.thresholds)
    np.testing.assert_allclose(first.calibration.scale, other.calibration.scale)


def test_out_of_fold_measures_show_overfitting() -> None:
    """On random scores and few images, fitted thresholds look better in sample than they are."""
    rng = np.random.default_rng(3)
    scores, truth = rng.random((60, 20)).astype(np.float32), (rng.random((60, 20)) < 0.3).astype(np.int8)
    fitted = fit(scores, truth, how("none", 2))
    in_sample = Decisions(scores.astype(float), scores >= fitted.thresholds, truth)
    held = out_of_fold(scores, truth, IMAGES[: len(scores)], how("none", 2, seed=0))
    held_out = Decisions(held.scores, held.fired, truth)
    assert Measures(held_out)()["macro_f1"][0] < Measures(in_sample)()["macro_f1"][0] - 0.015


def test_every_image_is_held_out_once_and_a_seed_repeats_it() -> None:
    scores, truth = calibrated_scores(103)
    first = out_of_fold(scores, truth, IMAGES[: len(scores)], how("none", 2, seed=1))
    again = out_of_fold(scores, truth, IMAGES[: len(scores)], how("none", 2, seed=1))
    np.testing.assert_array_equal(first.scores, scores.astype(np.float64))
    np.testing.assert_array_equal(first.fired, again.fired)


def test_without_calibration_scores_stay_the_same() -> None:
    scores = np.array([[0.0, 0.3, 1.0]], dtype=np.float32)
    np.testing.assert_array_equal(calibrated(scores, Calibration.none(3)), scores)
    assert np.isfinite(logits(scores)).all()
