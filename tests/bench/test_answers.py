import json
from pathlib import Path

import numpy as np
import pytest
from samples import PHOTOS

from bench import answers
from bench.answers import difference


def test_a_difference_is_of_scores_of_labels_and_of_the_best() -> None:
    plain = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.3]], np.float32)
    other = np.array([[0.9, 0.1], [0.45, 0.5], [0.2, 0.3]], np.float32)
    found = difference(plain, other, np.array([0.5, 0.5]))
    assert (found.images, found.largest, found.mean_of_largest) == (3, 0.15, 0.05)
    assert found.labels_changed == round(2 / 6, 5)
    assert found.best_changed == round(1 / 3, 5)


@pytest.mark.slow
def test_scaled_decoding_stays_close(
    demo_mar: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "SIZES", ((2000, 1500),))
    monkeypatch.setattr(answers, "QUALITIES", (80,))
    assert answers.main([str(PHOTOS / "chelsea.png"), "--archive", str(demo_mar)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["engine"]["largest"] < 1e-4
    assert 0 < found["decode: scaled"]["largest"] < 0.02
    assert found["decode: scaled"]["labels_changed"] == 0
    assert found["decode: scaled"]["images"] == 4
