import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.paths import ROOT

PLUGIN = "from interruption import end_in_order_on_sigterm\n\ndef pytest_configure():\n    end_in_order_on_sigterm()\n"
TEST = """
import os, signal, time, pathlib, pytest

@pytest.fixture(scope="session")
def server():
    yield
    os.kill(os.getpid(), signal.SIGTERM)  # another one, as it stops
    pathlib.Path("stopped").touch()

def test_interrupted(server):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)
"""


def test_a_pytest_that_gets_sigterm_tears_its_fixtures_down(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(PLUGIN)
    (tmp_path / "test_x.py").write_text(TEST)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "--rootdir", str(tmp_path), "-c", os.devnull, "."]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    assert (tmp_path / "stopped").exists(), done.stdout
