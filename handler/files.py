"""Reads the text files of an archive. A missing or broken file gives the same error everywhere."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from handler.errors import LoadError, one_line

Content = TypeVar("Content")


def read_text(path: Path, expected: str) -> str:
    """Reads UTF-8, with or without a byte order mark. Raises LoadError; `expected` says what the file should hold."""
    return _read(path, expected, "UTF-8", str)


def read_json(path: Path, expected: str) -> Any:
    """Reads and parses JSON. Raises LoadError."""
    return _read(path, expected, "JSON", json.loads)


def read_yaml(path: Path, expected: str) -> Any:
    """Reads and parses YAML, of which JSON is a part. Raises LoadError."""
    return _read(path, expected, "YAML", yaml.safe_load)


def unreadable(path: Path, error: OSError, expected: str) -> LoadError:
    """Says that a file is missing, or why it can't be read. In a container the cause is often a permission."""
    reason = "missing" if isinstance(error, FileNotFoundError) else f"can't be read ({error.strerror})"
    return LoadError(path, f"{reason}, expected {expected}")


def _read(path: Path, expected: str, kind: str, parse: Callable[[str], Content]) -> Content:
    try:
        return parse(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise unreadable(path, error, expected) from None
    except (ValueError, yaml.YAMLError, RecursionError) as error:  # json's and UTF-8's errors are ValueErrors
        raise LoadError(path, f"not valid {kind}: {one_line(error)}") from None
