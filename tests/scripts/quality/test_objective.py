import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta, binomtest

from scripts.quality.objective import MARGIN, NEVER, Kind, Objective, choose

pairs = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=12)
OBJECTIVES: list[tuple[Kind, float]] = [
    ("f", 1),
    ("f", 2),
    ("f", 0.5),
    ("cost", 3),
]


def merit(fired: NDArray[np.bool_], truth: NDArray[np.bool_], kind: Kind, value: float) -> tuple[float, ...]:
    """By the definitions; higher is better."""
    hits, alarms, misses = (fired & truth).sum(), (fired & ~truth).sum(), (~fired & truth).sum()
    if kind == "cost":
        return (-float(value * misses + alarms),)
    square = value**2
    return (float((1 + square) * hits / max((1 + square) * hits + square * misses + alarms, 1)),)


@pytest.mark.parametrize(("kind", "value"), OBJECTIVES)
@given(pairs)
def test_no_other_threshold_is_better(kind: Kind, value: float, given: list[tuple[float, bool]]) -> None:
    """Brute force over every threshold that decides differently, also among equal scores and those of 0 and 1."""
    scores, truth = np.array([score for score, _ in given]), np.array([true for _, true in given])
    choice = choose(scores, truth, Objective(kind, value))
    assert 0 < choice.threshold < 1
    tried = [
        merit(scores >= threshold, truth, kind, value) for threshold in (MARGIN, 0.05, 0.2, 0.3, 0.7, 0.95, 1 - MARGIN)
    ]
    mine = merit(scores >= choice.threshold, truth, kind, value)
    assert mine >= max(tried) or mine == pytest.approx(max(tried))


def test_the_threshold_lies_halfway() -> None:
    scores, truth = np.array([0.2, 0.4, 0.8]), np.array([False, False, True])
    assert choose(scores, truth, Objective("f", 1)).threshold == pytest.approx(0.6)


def test_a_promise_that_can_not_be_made() -> None:
    scores = np.linspace(0.1, 0.9, 21)
    for kind in ("precision", "recall"):
        choice = choose(scores, np.ones(21, dtype=bool), Objective(kind, 0.9, 0.9))
        assert not choice.reached, "22 of 22 are needed: 0.9²² < 0.1 < 0.9²¹"
        assert choice.threshold == NEVER < 1
        assert choose(np.append(scores, 0.95), np.ones(22, dtype=bool), Objective(kind, 0.9, 0.9)).reached


@given(st.integers(0, 2**32), st.sampled_from([0.5, 0.8, 0.95]), st.sampled_from([0.8, 0.9, 0.99]))
def test_promises_are_those_of_the_exact_interval(seed: int, share: float, confidence: float) -> None:
    """scipy's Clopper-Pearson bound at the chosen threshold; for recall also that none higher has it."""
    rng = np.random.default_rng(seed)
    scores = rng.random(300)
    truth = rng.random(300) < scores
    precise, complete = (choose(scores, truth, Objective(kind, share, confidence)) for kind in ("precision", "recall"))
    if precise.reached:
        fired = scores >= precise.threshold
        assert _bound(truth[fired].sum(), fired.sum(), confidence) >= share - 1e-9
    thresholds = np.sort(scores)
    bounds = _bounds((truth & (scores >= thresholds[:, None])).sum(axis=1), truth.sum(), confidence)
    assert bounds[150] == pytest.approx(_bound((truth & (scores >= thresholds[150])).sum(), truth.sum(), confidence))
    holding = thresholds[bounds >= share]
    assert complete.reached == bool(len(holding))
    if len(holding):
        assert (scores >= complete.threshold).sum() == (scores >= max(holding)).sum()


def _bounds(right: NDArray[np.int64], trials: int, confidence: float) -> NDArray[np.float64]:
    """The same for many at once, by the beta distribution."""
    return np.where(right == 0, 0.0, beta.ppf(1 - confidence, np.maximum(right, 1), trials - right + 1))


def _bound(right: int, trials: int, confidence: float) -> float:
    interval = binomtest(int(right), int(trials), alternative="greater").proportion_ci(confidence, "exact")
    return float(interval.low)


def test_promises_are_kept() -> None:
    """The short form of `make statistics`: in 200 data sets, 90 % must keep them; fewer than 170 would be wrong.

    The best threshold in sample, without a bound, keeps a precision in half of them.
    """
    objective = Objective("precision", 0.8, 0.9)
    kept = made = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        scores = rng.random(400)
        choice = choose(scores, rng.random(400) < scores, objective)
        made += choice.reached
        # Of calibrated scores that are spread evenly, the precision above t is their mean, (1 + t) / 2.
        kept += not choice.reached or (1 + choice.threshold) / 2 >= 0.8
    assert kept >= 170
    assert made >= 150


@pytest.mark.parametrize(("truth", "fires"), [([True, True], True), ([False, False], False)])
def test_all_or_none_of_the_images_have_the_label(truth: list[bool], fires: bool) -> None:
    scores = np.array([0.3, 0.6])
    choice = choose(scores, np.array(truth), Objective("f", 1))
    assert (scores >= choice.threshold).all() == fires
    assert (scores >= choice.threshold).any() == fires


def test_no_image_at_all() -> None:
    assert choose(np.empty(0), np.empty(0, dtype=bool), Objective("f", 1)).threshold == 0.5


def test_names_of_objectives() -> None:
    names = [str(Objective(kind, value)) for kind, value in [*OBJECTIVES, ("precision", 0.8)]]
    assert names == ["F1", "F2", "F0.5", "a miss costs 3", "precision of 0.8"]
