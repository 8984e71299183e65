"""Reading an archive's text files, so that a missing or broken one is said in the same way everywhere."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from handler.errors import LoadError


def read_json(path: Path, expected: str) -> Any:
    """Parses a JSON file; raises LoadError where it is missing (`expected` says what it should hold) or no JSON."""
    return _read(path, expected, "JSON", json.loads)


def read_yaml(path: Path, expected: str) -> Any:
    """The same of YAML, and so of JSON."""
    return _read(path, expected, "YAML", yaml.safe_load)


def _read(path: Path, expected: str, kind: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError:
        raise LoadError(path, f"missing, expected {expected}") from None
    except (ValueError, yaml.YAMLError, RecursionError) as error:  # json's and UTF-8's errors are ValueErrors
        raise LoadError(path, f"not valid {kind}: {' '.join(str(error).split())}") from None
