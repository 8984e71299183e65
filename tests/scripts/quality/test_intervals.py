import numpy as np
import pytest
from scipy.stats import binomtest

from scripts.quality.comparison import _worse
from scripts.quality.intervals import normal, wilson, wilson_f1


@pytest.mark.parametrize(("right", "trials"), [(0, 10), (3, 10), (10, 10), (70, 200)])
def test_wilson_equals_scipys(right: int, trials: int) -> None:
    low, high = wilson(np.array([right / trials]), np.array([trials]), np.zeros(1))
    expected = binomtest(right, trials).proportion_ci(0.95, "wilson")
    assert (low[0], high[0]) == (pytest.approx(expected.low, abs=1e-6), pytest.approx(expected.high, abs=1e-6))


def test_what_depends_on_each_other_counts_for_less() -> None:
    """Twice the deviation of independent trials stands for a quarter of them, and a smaller one for no more."""
    share, trials = np.array([0.3]), np.array([400.0])
    deviation = np.sqrt(share * (1 - share) / trials)
    np.testing.assert_allclose(wilson(share, trials, 2 * deviation), wilson(share, trials / 4, np.zeros(1)))
    np.testing.assert_allclose(wilson(share, trials, deviation / 2), wilson(share, trials, np.zeros(1)))


def test_no_interval_of_too_few() -> None:
    assert np.isnan(wilson(np.array([1.0]), np.array([4.0]), np.zeros(1))).all()
    assert np.isnan(normal(np.array([0.0]), np.zeros(1))).all()


def test_f1_by_its_union() -> None:
    low, high = wilson_f1(np.array([0.8]), np.array([30.0]), np.zeros(1))
    assert 0 < low[0] < 0.8 < high[0] < 1
    expected = binomtest(20, 30).proportion_ci(0.95, "wilson")  # F1 = 0.8: two hits for each error
    assert low[0] == pytest.approx(2 * expected.low / (1 + expected.low))


def test_holm_by_hand() -> None:
    """p of about 0.001, 0.02, 0.03 and 0.3: 0.02 is above 0.05 / 3, so only the first one counts."""
    z = np.array([3.29, 2.33, 2.17, 1.04])
    assert _worse(-z, np.ones(4)).tolist() == [True, False, False, False]
    assert _worse(z, np.ones(4)).tolist() == [False] * 4, "better is not worse"
    assert _worse(np.array([0.0, -3.0]), np.array([0.0, 1.0])).tolist() == [False, True]
    assert _worse(np.empty(0), np.empty(0)).tolist() == []
