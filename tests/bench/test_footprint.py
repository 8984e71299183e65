"""What a server takes stays within what is counted for it."""

from pathlib import Path

import pytest
from samples import free_ports

from bench.footprint import main


@pytest.mark.slow
def test_a_worker_and_java_take_no_more_than_is_counted(demo_mar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(demo_mar), "--port", str(free_ports().inference)]) == 0
    _, row = capsys.readouterr().out.splitlines()
    weights, worker, counted, java, most = map(int, row.split()[2:])
    assert weights == 13
    assert 300 < worker <= counted * 1.1, "libraries differ by a little from one Python to another"
    assert 50 < java < most
