from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler.errors import LoadError
from handler.files import read_json, read_text, read_yaml


def test_yaml_and_json(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"ü": [1, 0.5]}', encoding="utf-8")
    assert read_json(tmp_path / "a", "x") == read_yaml(tmp_path / "a", "x") == {"ü": [1, 0.5]}


@pytest.mark.parametrize("read", [read_text, read_json, read_yaml])
def test_missing_says_what_was_expected(tmp_path: Path, read: Callable[[Path, str], Any]) -> None:
    with pytest.raises(LoadError) as caught:
        read(tmp_path / "a", "five numbers")
    assert str(caught.value) == f"{tmp_path / 'a'}: missing, expected five numbers"


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_text(tmp_path / "a", "x") == "[1]"
    assert read_json(tmp_path / "a", "x") == read_yaml(tmp_path / "a", "x") == [1]


@pytest.mark.parametrize("read", [read_text, read_json, read_yaml])
def test_what_is_there_but_unreadable_is_not_called_missing(tmp_path: Path, read: Callable[[Path, str], Any]) -> None:
    with pytest.raises(LoadError) as caught:
        read(tmp_path, "five numbers")
    assert str(caught.value) == f"{tmp_path}: can't be read (Is a directory), expected five numbers"


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LoadError, match="not valid UTF-8: "):
        read_text(tmp_path / "a", "x")


@pytest.mark.parametrize("content", [b'{"a":\n\n', b"\xff\xfe\x00", b"[" * 100_000, b"a: [\nb: ]\n\t"])
@pytest.mark.parametrize(("read", "kind"), [(read_json, "JSON"), (read_yaml, "YAML")])
def test_broken_is_one_line(tmp_path: Path, read: Callable[[Path, str], Any], kind: str, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(LoadError, match=f"not valid {kind}: ") as caught:
        read(tmp_path / "a", "five numbers")
    assert "\n" not in str(caught.value)


def test_yaml_makes_plain_values_only(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(LoadError, match="not valid YAML"):
        read_yaml(tmp_path / "a", "x")
