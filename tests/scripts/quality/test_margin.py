"""What images show of a margin: of versions that decide alike, of a worse one, and of too few images."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from scripts.quality.comparison import NOTHING_SEEN, Comparison
from scripts.quality.evaluation import AS_SCORED, Version
from scripts.quality.margin import bounds
from scripts.quality.measures import Decisions

LABELS = ["ant", "bee", "cat"]


def version(fired: NDArray[np.bool_], truth: NDArray[np.int8]) -> Version:
    scores = fired.astype(np.float64)
    return Version(AS_SCORED, Decisions(scores, fired, truth), np.full(len(LABELS), 0.5), 200, 0, fit_known=True)


def world(images: int, flipped: float, seed: int = 0, margin: float = 0.01, harm: bool = False) -> Comparison:
    """A version that errs on one decision in ten, and one that decides `flipped` of all anew: at random, or wrongly."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((images, len(LABELS))) < 0.4).astype(np.int8)
    first = (truth == 1) ^ (rng.random(truth.shape) < 0.1)
    anew = rng.random(truth.shape) < flipped
    other = (truth == 0) if harm else (truth == 1) ^ (rng.random(truth.shape) < 0.1)
    paths = [str(number) for number in range(images)]
    return Comparison(version(first, truth), version(np.where(anew, other, first), truth), LABELS, margin, paths)


def test_versions_that_decide_alike_may_differ_on_other_images() -> None:
    comparison = world(600, flipped=0)
    micro, macro = bounds(comparison)
    assert (micro.difference, macro.difference) == (0, 0)
    assert micro.low == -NOTHING_SEEN / 600
    rarest = comparison.first.estimate.trials["f1"].min()
    assert macro.low == pytest.approx(-NOTHING_SEEN / (len(LABELS) * rarest))
    assert [bound.holds for bound in (micro, macro)] == [True, True]
    few = bounds(world(100, flipped=0))
    assert [bound.holds for bound in few] == [False, False]
    assert few[0].needed == pytest.approx(NOTHING_SEEN / 0.01)


def test_no_bound_is_nearer_than_that_of_versions_that_decide_alike() -> None:
    comparison = world(600, flipped=0.01)
    differs = comparison.differences["micro_f1"]
    assert 0 < differs.high - differs.low < 2 * NOTHING_SEEN / 600
    [micro, _] = bounds(comparison)
    assert micro.low == pytest.approx(micro.difference - NOTHING_SEEN / 600)


def test_a_worse_version_does_not_pass_with_any_number_of_images() -> None:
    found = bounds(world(5000, flipped=0.05, harm=True))
    assert [bound.holds for bound in found] == [False, False]
    assert [bound.needed for bound in found] == [math.inf, math.inf]
    assert found[0].lack == "micro F1 is worse by more than 0.01, or can't be measured"


def test_a_worse_version_is_not_told_to_bring_what_it_has() -> None:
    for seed in range(20):
        [micro, _] = bounds(world(1500, flipped=0.01, seed=seed, harm=True, margin=0.01))
        if not micro.holds and math.isfinite(micro.needed):
            assert micro.needed < 1500
            assert f"came out worse by {-micro.difference:.4f} on 1500 judged photos" in micro.lack
            return
    raise AssertionError("none of these samples is of this kind")


def test_as_many_images_as_it_says_show_it_8_times_in_10() -> None:
    """Of two versions that are equally good."""
    [few, _] = bounds(world(100, flipped=0.1))
    assert not few.holds
    assert "judged photos like these, to show it 8 times in 10 if it is the same, and has 100" in few.lack
    [micro, _] = bounds(world(2000, flipped=0.1))
    shown = [bounds(world(math.ceil(micro.needed), flipped=0.1, seed=seed))[0].holds for seed in range(1, 41)]
    assert 26 <= sum(shown) <= 40, "of 40, 32 are expected"


def test_nothing_is_shown_where_there_is_nothing_to_measure() -> None:
    nothing = np.zeros((50, len(LABELS)), dtype=np.int8)
    same = version(nothing == 1, nothing)
    found = bounds(Comparison(same, same, LABELS, 0.5, [str(number) for number in range(50)]))
    assert [bound.holds for bound in found] == [False, False]
    assert "nothing to measure" in str(found[0])
