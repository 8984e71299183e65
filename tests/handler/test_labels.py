import json
from pathlib import Path

import pytest

from handler.errors import LoadError
from handler.labels import check_labels, read_labels


def test_order_is_by_index_not_by_place(tmp_path: Path) -> None:
    names = {str(index): f"class {index}" for index in reversed(range(12))}
    (tmp_path / "index_to_name.json").write_text(json.dumps(names))
    assert read_labels(tmp_path) == tuple(f"class {index}" for index in range(12))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected"),
        ("{}", "expected"),
        ('{"0": "a", "2": "b"}', "1: missing, expected the keys 0 to 1 without a gap"),
        ('{"0": "a", "1": "a"}', "label 1: 'a' again"),
        ('{"0": "a", "1": " "}', "label 1: ' ', expected a non-empty"),
        ('{"0": "a", "1": 5}', "label 1: 5, expected"),
        ('{"0": "a\\nb"}', r"label 0: 'a\nb', expected a non-empty printable string"),
    ],
)
def test_wrong_files(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "index_to_name.json").write_text(content)
    with pytest.raises(LoadError) as caught:
        read_labels(tmp_path)
    assert message in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"index_to_name.json: missing"):
        read_labels(tmp_path)


def test_no_labels() -> None:
    with pytest.raises(LoadError, match="no labels"):
        check_labels([], "labels.txt")
