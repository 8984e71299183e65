"""The benchmark itself, short: that one contestant of each family starts, answers rightly, and is measured."""

import json
import shutil
from pathlib import Path

import pytest
from samples import PHOTOS, first_free_port

from bench import run


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not on the PATH")
def test_one_short_round(
    demo_mar: Path, demo_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--rounds", "1", "--seconds", "2", "--warm-up", "1", "--output", str(tmp_path)]
    options += ["--archive", str(demo_mar), "--tuned", str(demo_mar), "--checkpoint", str(demo_checkpoint)]
    options += ["--photo", str(PHOTOS / "chelsea.png"), "--port", str(first_free_port(100))]
    options += ["--sizes", "300x225", "500x375"]  # answered many times, however busy the machine is
    options += ["--only", "as packaged", "image_classifier, batch 8", "FastAPI + timm, 1 ", "LitServe, 1 "]
    assert run.main(options) == 0, capsys.readouterr()
    result = json.loads((tmp_path / "bench.json").read_text())
    assert len(result["rounds"]) == 2 * (len(result["families"]) + len(result["ceilings"]))
    assert len(result["families"]) == 4
    assert "ratio of medians" in capsys.readouterr().out


def test_without_wrk_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert run.main(["--photo", str(PHOTOS / "chelsea.png"), "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: wrk: not found, expected it on the PATH (Debian: apt-get install wrk)\n"
