import shutil
import socket
from pathlib import Path

import pytest
import torch
from samples import CHELSEA, COFFEE, PHOTOS, first_free_port

from scripts import tune
from scripts.archive.manifest import read_archive
from scripts.archive.outline import read_outline
from scripts.tune import Trial, best, try_networks

ENGINES = ["eager", "frozen", *(["compiled"] if shutil.which("g++") else [])]


def test_of_those_that_are_close_the_first_wins() -> None:
    plain, wide, fast = Trial({"workers": 1}, 97.5), Trial({"workers": 2}, 100), Trial({"workers": 4}, 96)
    assert best([plain, wide, fast]) is plain
    assert best([Trial({}, 96), wide, fast]) is wide


@pytest.mark.slow
def test_each_network_is_compared_with_the_plain_one(demo_mar: Path) -> None:
    threads = torch.get_num_threads()
    try:
        trials = try_networks(demo_mar, [CHELSEA, COFFEE], torch.device("cpu"))
    finally:
        torch.set_num_threads(threads)
    assert [trial.settings for trial in trials] == [
        {"engine": engine, "precision": precision} for precision in ("float32", "bfloat16") for engine in ENGINES
    ]
    differences = [trial.difference or 0 for trial in trials]
    float32, bfloat16 = differences[: len(ENGINES)], differences[len(ENGINES) :]
    assert float32[0] == 0
    assert max(float32) < 1e-4
    assert all(1e-4 < one < 0.1 for one in bfloat16)


def test_a_taken_port_is_named_before_the_work(
    demo_mar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = first_free_port(5)
    with socket.create_server(("127.0.0.1", first + 4)):
        assert tune.main([str(demo_mar), "--output", str(tmp_path / "tuned.mar"), "--port", str(first)]) == 1
    assert capsys.readouterr() == ("", f"error: port {first + 4}: already in use\n")


@pytest.mark.slow
def test_the_best_is_written_with_its_evidence(
    demo_mar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "available_cores", lambda: 1)
    output = tmp_path / "tuned.mar"
    port = str(first_free_port(5))
    flags = ["--output", str(output), "--batches", "4", "--seconds", "1", "--clients", "2", "--port", port]
    assert tune.main([str(demo_mar), *flags, "--photo", str(PHOTOS / "chelsea.png")]) == 0
    assert f"wrote    {output}" in capsys.readouterr().out
    outline = read_outline(read_archive(output))
    evidence = outline.settings.tuned
    assert (outline.server.batchSize, outline.server.minWorkers) == (4, 1)
    assert len(evidence["networks"]) == 2 * len(ENGINES)
    [server] = evidence["servers"]
    assert server.keys() == {"minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "per_second"}
    assert (evidence["clients"], evidence["device"]) == (2, "cpu")

    assert tune.main([str(demo_mar), *flags]) == 1
    assert "exists already" in capsys.readouterr().err
