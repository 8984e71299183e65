"""Why a compiler failed, with a process in its place; tests/handler/test_compiled.py runs the real one."""

import subprocess
import sys
from pathlib import Path

import pytest

from handler.errors import LoadError
from scripts.archive import compiler


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "the compiler was killed by SIGKILL"),
        ("raise SystemExit(3)", "the compiler ended with exit code 3"),
        ("raise SystemExit('CppCompileError: no g++\\n\\n')", "CppCompileError: no g++"),
        ("raise SystemExit('out of patience\\n')", "out of patience"),
    ],
)
def test_the_reason_of_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, message: str) -> None:
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _, **options: run([sys.executable, "-c", program], **options))
    with pytest.raises(LoadError) as caught:
        compiler.compile_network(tmp_path, "float32")
    assert str(caught.value) == f"{tmp_path / 'network.so'}: can't be compiled: {message}"
