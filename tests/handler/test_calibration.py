import json
from pathlib import Path

import numpy as np
import pytest
import torch

from handler.calibration import CALIBRATION_FILE, Calibration, parse_calibration, read_calibration
from handler.classifier import Classifier
from handler.errors import LoadError

CPU = torch.device("cpu")
LABELS = ["ant", "bee"]


def test_without_a_file_nothing_changes(tmp_path: Path) -> None:
    none = read_calibration(tmp_path, LABELS)
    assert not none.changes
    assert none.to_dict(LABELS) == {name: {"scale": 1.0, "shift": 0.0} for name in LABELS}


def test_one_after_another_and_back() -> None:
    first, second = Calibration(np.array([2.0]), np.array([1.0])), Calibration(np.array([3.0]), np.array([-4.0]))
    both = second.after(first)
    assert both.to_dict(["ant"]) == {"ant": {"scale": 6, "shift": 3 * 1 - 4}}
    assert both.after(first.inverse).to_dict(["ant"]) == second.to_dict(["ant"])


@pytest.mark.parametrize("engine", ["eager", "frozen"])
def test_what_serves_is_calibrated(tiny_directory: Path, engine: str) -> None:
    """By the formula, in NumPy, on the logits of the same network without it."""
    image = Classifier.load(tiny_directory, CPU).example(3)
    scores = Classifier.load(tiny_directory, CPU).model.scores(image)
    pairs = {"ant": (0.5, 0.0), "bee": (1.0, 0.0), "cat": (2.0, -1.0)}
    content = {name: {"scale": scale, "shift": shift} for name, (scale, shift) in pairs.items()}
    (tiny_directory / CALIBRATION_FILE).write_text(json.dumps(content))
    calibrated = Classifier.load(tiny_directory, CPU, engine=engine)
    scale, shift = np.array(list(pairs.values())).T
    expected = 1 / (1 + np.exp(-(scale * np.log(scores / (1 - scores)) + shift)))
    np.testing.assert_allclose(calibrated.model.scores(image), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected {label: {scale: a number above 0"),
        ({"ant": {"scale": 1, "shift": 0}}, "'bee': None, expected a scale and a shift"),
        ({"elk": {}}, "'elk': unknown label"),
        ({name: {"scale": 1} for name in LABELS}, "'ant': {'scale': 1}, expected a scale and a shift"),
        ({name: {"scale": "1", "shift": 0} for name in LABELS}, "'ant': .*, expected numbers"),
        ({name: {"scale": 1, "shift": float("nan")} for name in LABELS}, "'ant': .*, expected numbers"),
        ({name: {"scale": 0, "shift": 0} for name in LABELS}, "'ant': scale: 0, expected a number above 0"),
        ({name: {"scale": True, "shift": 0} for name in LABELS}, "'ant': .*, expected numbers"),
    ],
)
def test_a_wrong_file_names_the_label(content: object, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        parse_calibration(content, LABELS, "here")
