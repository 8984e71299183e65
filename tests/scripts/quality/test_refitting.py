"""Thresholds fitted again in all resamples at once, against the fit itself on images that are repeated."""

import numpy as np
import pytest
from synthetic import calibrated_scores

from scripts.quality.bootstrap import estimate, resample_weights
from scripts.quality.fitting import Method, Procedure, fit, held_out, logits, out_of_fold
from scripts.quality.measures import Decisions
from scripts.quality.objective import Kind, Objective
from scripts.quality.scores import UNKNOWN

IMAGES = np.random.default_rng(0).integers(0, 2**64, 400, dtype=np.uint64)


@pytest.mark.parametrize(("kind", "value"), [("f", 1), ("cost", 3), ("precision", 0.5), ("recall", 0.6)])
@pytest.mark.parametrize("method", ["none", "temperature", "platt"])
def test_each_image_once_gives_the_decisions_themselves(kind: Kind, value: float, method: Method) -> None:
    scores, truth = calibrated_scores(400)
    truth[:20, 0] = UNKNOWN
    inside = np.arange(400) < 350
    held = held_out(scores, truth, IMAGES, inside, Procedure(Objective(kind, value), method))
    counts = held.refit(np.ones((400, 1)))
    expected = (held.fired & (truth == 1)).sum(axis=0), (held.fired & (truth == 0)).sum(axis=0)
    # A threshold lies halfway between two scores, and here within the logits: an image between may differ.
    np.testing.assert_allclose(counts.hits[0], expected[0], atol=3)
    np.testing.assert_allclose(counts.alarms[0], expected[1], atol=3)
    exact = ((held.fired == (truth == 1)) | (truth == UNKNOWN)).all(axis=1).sum()
    assert counts.exact[0] == pytest.approx(exact, abs=8)


def test_weights_are_repeated_images() -> None:
    scores, truth = calibrated_scores(400)
    how = Procedure(Objective("f", 1), "none")
    held = out_of_fold(scores, truth, IMAGES, how)
    weights = next(resample_weights(400, 3, 1))
    counts = held.refit(weights)
    for column, weight in enumerate(weights.T.astype(int)):
        hits = np.zeros(3)
        for group in range(5):
            others = np.repeat(np.arange(400), np.where(held.refit.groups != group, weight, 0))
            own = np.flatnonzero(held.refit.groups == group)
            thresholds = fit(scores[others], truth[others], how).thresholds
            fired = scores[own] >= thresholds
            hits += (weight[own, None] * (fired & (truth[own] == 1))).sum(axis=0)
        np.testing.assert_allclose(counts.hits[column], hits, atol=6)


def test_the_noise_of_the_fit_is_in_the_intervals() -> None:
    """Of the differences between two sets of scores of equal quality, whose thresholds are fitted on few images."""
    _, truth = calibrated_scores(400, 6)
    rng = np.random.default_rng(2)
    versions = []
    for _ in range(2):
        z = 2 * (truth * 2 - 1) + 2.5 * rng.normal(size=truth.shape)
        held = out_of_fold(1 / (1 + np.exp(-z)), truth, IMAGES, Procedure(Objective("f", 1), "temperature"))
        assert held.refit.logits.shape == logits(z).shape
        fixed = Decisions(held.scores, held.fired, truth)
        refitted = Decisions(held.scores, held.fired, truth, refit=held.refit)
        versions.append([estimate(each, 200, 0) for each in (fixed, refitted)])
    fixed, refitted = (second.minus(first).deviations["macro_f1"][0] for first, second in zip(*versions, strict=True))
    assert refitted > 1.05 * fixed
