import shutil
from pathlib import Path

import pytest
from samples import PHOTOS, first_free_port

from bench import java_share


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not on the PATH")
def test_a_round_accounts_for_java_and_its_workers(demo_mar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--archive", str(demo_mar), "--rounds", "1", "--seconds", "5", "--port", str(first_free_port(5))]
    assert java_share.main([str(PHOTOS / "chelsea.png"), *flags]) == 0
    header, numbers = capsys.readouterr().out.splitlines()
    assert header.split()[-2:] == ["Python", "workers"]
    rate, compiler, http, workers_side, _, python = map(float, numbers.split())
    assert rate > 0
    assert min(compiler, http, workers_side) > 0
    assert python > workers_side


def test_without_wrk_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert java_share.main([str(PHOTOS / "chelsea.png"), "--archive", str(tmp_path / "x.mar")]) == 1
    assert capsys.readouterr().err.startswith("error: wrk: not found")
