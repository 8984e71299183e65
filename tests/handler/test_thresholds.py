import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from handler.errors import LoadError
from handler.thresholds import decide, is_threshold, parse_thresholds, rank, read_thresholds

CLASSES = st.integers(1, 40)
SCORES = CLASSES.flatmap(
    lambda classes: st.tuples(
        arrays(np.float32, classes, elements=st.floats(0, 1, width=32)),
        arrays(np.float64, classes, elements=st.floats(0.01, 0.99)),
    )
)
FALLBACKS = st.sampled_from(["none", "best_label"])


@given(SCORES, FALLBACKS)
def test_a_label_fires_at_or_above_its_threshold(both: Any, fallback: Literal["none", "best_label"]) -> None:
    scores, thresholds = both
    decision = decide(scores, thresholds, fallback)
    expected = {index for index in range(len(scores)) if scores[index] >= thresholds[index]}
    assert decision.fallback == (not expected)
    if expected or fallback == "none":
        assert set(decision.labels) == expected
    else:
        [best] = decision.labels
        assert scores[best] == scores.max()


@given(SCORES, st.integers(0, 50))
def test_rank_is_best_first_and_stable(both: Any, k: int) -> None:
    scores, _ = both
    expected = sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:k]
    assert list(rank(scores, k)) == expected


@given(SCORES)
def test_labels_are_in_rank_order(both: Any) -> None:
    scores, thresholds = both
    labels = decide(scores, thresholds, "none").labels
    assert list(labels) == [index for index in rank(scores, len(scores)) if index in labels]


@given(SCORES, st.floats(0.01, 0.99))
def test_raising_thresholds_never_adds_a_label(both: Any, step: float) -> None:
    scores, thresholds = both
    before = decide(scores, thresholds, "none").labels
    after = decide(scores, np.minimum(thresholds + step, 1.0), "none").labels
    assert set(after) <= set(before)


@pytest.mark.parametrize("value", [0.5, 1e-9, 0.999])
def test_good_thresholds(value: float) -> None:
    assert is_threshold(value)


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, float("nan"), float("inf"), 10**400, True, "0.5", None, [0.5]])
def test_bad_thresholds(value: object) -> None:
    assert not is_threshold(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.3, [0.3, 0.3]), ([0.1, 0.2], [0.1, 0.2]), ({"b": 0.2, "a": 0.1}, [0.1, 0.2])],
)
def test_forms(value: object, expected: list[float]) -> None:
    assert parse_thresholds(value, ["a", "b"], "here").tolist() == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1, "here: 1, expected a number above 0 and below 1"),
        ([0.5], "here: 1 thresholds, expected 2"),
        ({"a": 0.5}, "here: 'b': missing"),
        ({"a": 0.5, "b": 1.0}, "here: 'b': 1.0, expected a number above 0 and below 1"),
        ({"a": 0.5, "b": 0.5, "c": 0.5}, "here: 'c': unknown label"),
        ("0.5", "here: '0.5', expected"),
    ],
)
def test_wrong_thresholds(value: object, message: str) -> None:
    with pytest.raises(LoadError) as caught:
        parse_thresholds(value, ["a", "b"], "here")
    assert message in str(caught.value)


def test_file(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"thresholds.json: missing"):
        read_thresholds(tmp_path, ["a"])
    (tmp_path / "thresholds.json").write_text("{")
    with pytest.raises(LoadError, match=r"thresholds.json: not valid JSON"):
        read_thresholds(tmp_path, ["a"])
    (tmp_path / "thresholds.json").write_text(json.dumps({"a": 0.25}))
    assert read_thresholds(tmp_path, ["a"]).tolist() == [0.25]
