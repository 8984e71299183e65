import json
import math
from pathlib import Path

import numpy as np
import pytest

from handler.errors import LoadError
from handler.golden import Golden, read_golden


def _write(directory: Path, content: object) -> None:
    (directory / "golden").mkdir(exist_ok=True)
    (directory / "golden" / "a.png").write_bytes(b"bytes")
    (directory / "golden.json").write_text(json.dumps(content))


def test_reads_inputs_with_their_scores(tmp_path: Path) -> None:
    _write(tmp_path, {"a.png": [0.1, 0.9]})
    [golden] = read_golden(tmp_path, 2)
    assert (golden.name, golden.image, golden.scores.tolist()) == ("a.png", b"bytes", [0.1, 0.9])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "with at least one file"),
        ([], "with at least one file"),
        ({"a.png": [0.1]}, "a.png: expected 2 scores"),
        ({"a.png": ["x", "y"]}, "a.png: expected 2 scores"),
        ({"a.png": [0.1, math.nan]}, "a.png: expected 2 scores from 0 to 1"),
        ({"a.png": [0.1, True]}, "a.png: expected 2 scores from 0 to 1"),
        ({"a.png": [0.1, 1.5]}, "a.png: expected 2 scores from 0 to 1"),
        ({"b.png": [0.1, 0.2]}, "golden/b.png: missing"),
        ({"../../a.png": [0.1, 0.2], "../golden.json": [0.1, 0.2]}, "golden/golden.json: missing"),
    ],
)
def test_wrong_files(tmp_path: Path, content: object, message: str) -> None:
    _write(tmp_path, content)
    with pytest.raises(LoadError) as caught:
        read_golden(tmp_path, 2)
    assert message in str(caught.value)


def test_missing_file_says_how_to_do_without(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"golden.json: missing, .* handler.self_check: false"):
        read_golden(tmp_path, 2)


@pytest.mark.parametrize(
    ("scores", "difference"),
    [
        ([0.105, 0.9], None),
        ([0.12, 0.7], "'bee' scores 0.7000, expected 0.9000 within 0.01"),
        ([math.nan, 0.9], "'ant' scores nan, expected 0.1000 within 0.01"),
    ],
)
def test_the_worst_difference_is_named(scores: list[float], difference: str | None) -> None:
    golden = Golden("a.png", b"bytes", np.array([0.1, 0.9]))
    assert golden.difference(np.array(scores), ["ant", "bee"], 0.01) == difference
