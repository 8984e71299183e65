import json
from pathlib import Path

import pytest
from samples import first_free_port

from bench import start


@pytest.mark.slow
def test_each_step_is_timed(demo_mar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--archive", str(demo_mar), "--rounds", "1", "--port", str(first_free_port(5))]
    assert start.main(flags) == 0
    seconds = json.loads(capsys.readouterr().out)["seconds"]
    assert list(seconds) == ["Java answers", "READY", "first answer", *start.IMPORTS, "load", "warm-up", "self-check"]
    assert 0 < seconds["Java answers"] < seconds["READY"]
