import numpy as np
import pytest

from scripts.quality import fitted
from scripts.quality.fitted import describe_images, fit_settings, parse_fitted_on

IMAGES = np.random.default_rng(0).integers(0, 2**64, 1_000, dtype=np.uint64)
OTHERS = np.random.default_rng(1).integers(0, 2**64, 1_000, dtype=np.uint64)


def test_the_images_are_known_again() -> None:
    found = parse_fitted_on({"fitted_on": describe_images(IMAGES)})
    assert found is not None
    assert found.includes(IMAGES).all()
    assert not found.includes(OTHERS).any()
    assert found.within(np.concatenate([OTHERS, IMAGES[::-1]]))
    assert not found.within(IMAGES[1:])
    assert describe_images(IMAGES) == describe_images(IMAGES[::-1])


def test_of_very_many_images_some_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted, "KEPT", 100)
    found = parse_fitted_on({"fitted_on": describe_images(IMAGES)})
    assert found is not None
    assert len(found.hashes) == 100
    assert found.includes(IMAGES).all(), "those without a hash go with the others"
    assert not found.includes(OTHERS).any()
    assert not found.within(IMAGES[:500])


@pytest.mark.parametrize("record", [None, {}, {"fitted_on": None}, {"fitted_on": {"images": 3, "hashes": "*"}}])
def test_a_record_that_does_not_say(record: object) -> None:
    assert fit_settings(record) is None
