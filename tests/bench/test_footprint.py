"""What a server takes, beside what is counted for it."""

from pathlib import Path

import pytest
from samples import free_ports

from bench.footprint import main


@pytest.mark.slow
def test_a_worker_takes_about_what_is_counted_and_java_less(demo_mar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(demo_mar), "--port", str(free_ports().inference)]) == 0
    _, row = capsys.readouterr().out.splitlines()
    weights, worker, counted, java, most = map(int, row.split()[2:])
    assert weights == 13
    assert 300 < worker <= counted * 1.25, "it differs by a tenth from one run to another"
    assert 50 < java < most
