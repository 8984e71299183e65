"""The benchmark itself, short: that one contestant of each family starts, answers rightly, and is measured."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from samples import PHOTOS, first_free_port

from scripts.paths import ROOT


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not on the PATH")
def test_one_short_round(demo_mar: Path, demo_checkpoint: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "bench/run.py",
        "--rounds",
        "1",
        "--seconds",
        "5",
        "--warm-up",
        "1",
        "--output",
        str(tmp_path),
    ]
    command += ["--archive", str(demo_mar), "--tuned", str(demo_mar), "--checkpoint", str(demo_checkpoint)]
    command += ["--photo", str(PHOTOS / "chelsea.png"), "--port", str(first_free_port(100))]
    command += ["--sizes", "300x225", "500x375"]  # answered many times, however busy the machine is
    command += ["--only", "as packaged", "image_classifier, batch 8", "FastAPI + timm, 1 ", "LitServe, 1 "]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "bench.json").read_text())
    assert len(result["rounds"]) == 2 * (len(result["families"]) + len(result["ceilings"]))
    assert len(result["families"]) == 4
    assert "ratio of medians" in done.stdout


def test_without_wrk_it_says_so(demo_mar: Path, tmp_path: Path) -> None:
    command = [sys.executable, "bench/run.py", "--photo", str(PHOTOS / "chelsea.png"), "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": ""}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: wrk: not found, expected it on the PATH (Debian: apt-get install wrk)\n"
