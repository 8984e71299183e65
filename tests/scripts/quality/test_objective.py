import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from scripts.quality.objective import MARGIN, Kind, Objective, choose

pairs = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=12)
OBJECTIVES: list[tuple[Kind, float]] = [
    ("f", 1),
    ("f", 2),
    ("f", 0.5),
    ("cost", 3),
    ("precision", 0.8),
    ("recall", 0.7),
]


def merit(fired: NDArray[np.bool_], truth: NDArray[np.bool_], kind: Kind, value: float) -> tuple[float, ...]:
    """By the definitions; higher is better."""
    hits, alarms, misses = (fired & truth).sum(), (fired & ~truth).sum(), (~fired & truth).sum()
    precision = hits / (hits + alarms) if hits + alarms else 0.0
    recall = hits / (hits + misses) if hits + misses else 0.0
    if kind == "cost":
        return (-(value * misses + alarms),)
    if kind == "f":
        square = value**2
        both = square * precision + recall
        return ((1 + square) * precision * recall / both if both else 0.0,)
    required, other = (precision, recall) if kind == "precision" else (recall, precision)
    return (1.0, float(other)) if required >= value and hits else (0.0, float(required), float(other))


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


def test_an_objective_out_of_reach_is_reported() -> None:
    scores, truth = np.array([0.9, 0.8, 0.1]), np.array([False, True, False])
    choice = choose(scores, truth, Objective("precision", 0.9))
    assert not choice.reached
    assert choice.threshold == pytest.approx(0.45), "half of what fires is right, and no threshold comes nearer"
    assert choose(scores, truth, Objective("recall", 1.0)).reached


@pytest.mark.parametrize(("truth", "fires"), [([True, True], True), ([False, False], False)])
def test_all_or_none_of_the_images_have_the_label(truth: list[bool], fires: bool) -> None:
    scores = np.array([0.3, 0.6])
    choice = choose(scores, np.array(truth), Objective("f", 1))
    assert (scores >= choice.threshold).all() == fires
    assert (scores >= choice.threshold).any() == fires


def test_no_image_at_all() -> None:
    assert choose(np.empty(0), np.empty(0, dtype=bool), Objective("f", 1)).threshold == 0.5


def test_names_of_objectives() -> None:
    names = [str(Objective(kind, value)) for kind, value in OBJECTIVES]
    assert names == ["F1", "F2", "F0.5", "a miss costs 3", "precision of 0.8", "recall of 0.7"]
