import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.paths import ROOT

PLUGIN = """
from interruption import end_in_order_on_sigterm

def pytest_sessionstart(session):
    end_in_order_on_sigterm(session)
"""
TEST = """
import os, signal, time, pathlib, pytest

@pytest.fixture(scope="session")
def server():
    yield
    os.kill(os.getpid(), signal.SIGTERM)  # another one, as it stops
    pathlib.Path("stopped").touch()

def test_interrupted(server):
    BODY

def test_next(server):
    pathlib.Path("next").touch()
"""
SLEEP = "os.kill(os.getpid(), signal.SIGTERM); time.sleep(600)"
EXPECT = "with pytest.raises(KeyboardInterrupt): os.kill(os.getpid(), signal.SIGTERM); time.sleep(600)"


@pytest.mark.parametrize("body", [SLEEP, EXPECT])
def test_a_pytest_that_gets_sigterm_tears_its_fixtures_down(tmp_path: Path, body: str) -> None:
    """Also where a test expects an interrupt, and takes this one for it."""
    (tmp_path / "conftest.py").write_text(PLUGIN)
    (tmp_path / "test_x.py").write_text(TEST.replace("BODY", body))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "--rootdir", str(tmp_path), "-c", os.devnull, "."]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    assert (tmp_path / "stopped").exists(), done.stdout
    assert not (tmp_path / "next").exists()
