import io
import shutil
import socket
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from samples import PHOTOS, first_free_port

from scripts import tune
from scripts.archive.manifest import natural, read_archive
from scripts.archive.outline import read_outline
from scripts.archive.trials import Trial, best, try_networks
from scripts.tune import tuned_version

ENGINES = ["eager", "frozen", "openvino"]


def test_of_those_that_are_close_the_first_wins() -> None:
    plain, wide, fast = Trial({"workers": 1}, 97.5), Trial({"workers": 2}, 100), Trial({"workers": 4}, 96)
    assert best([plain, wide, fast]) is plain
    assert best([Trial({}, 96), wide, fast]) is wide


@pytest.mark.parametrize(
    ("version", "tuned"),
    [
        ("1.0", "1.0-tuned"),
        ("1.0-tuned", "1.0-tuned.2"),
        ("1.0-tuned.9", "1.0-tuned.10"),
        ("2", "2-tuned"),
        ("2024-05-01_b", "2024-05-01_b-tuned"),
    ],
)
def test_a_tuned_version_is_newer_than_its_source_and_older_than_the_next_release(version: str, tuned: str) -> None:
    assert tuned_version(version) == tuned
    assert natural(version) < natural(tuned)
    release = version.split("-tuned")[0]
    assert natural(tuned) < natural(f"{release}.1")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tolerance", "0"], "flags: handler.golden_tolerance: 0.0, expected a number from 1e-06 to 0.5"),
        (["--tolerance", "0.9"], "flags: handler.golden_tolerance: 0.9, expected a number from 1e-06 to 0.5"),
        (["--version", "1.0"], "flags: version: 1.0 is that of "),
        (["--version", "1/0"], "flags: version: '1/0', expected letters"),
    ],
)
def test_what_could_not_be_written_is_refused_before_the_work(
    demo_mar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert tune.main([str(demo_mar), "--output", str(tmp_path / "tuned.mar"), *flags]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: {message}")
    assert shown.out == ""


def test_without_golden_inputs_it_asks_for_photos(
    bare_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = Path(shutil.make_archive(str(tmp_path / "bare"), "zip", bare_directory)).rename(tmp_path / "bare.mar")
    assert tune.main([str(bare), "--output", str(tmp_path / "tuned.mar"), "--port", str(first_free_port(5))]) == 1
    assert "bare.mar: no golden inputs, expected photos after --photo" in capsys.readouterr().err


def test_a_taken_port_is_named_before_the_work(
    demo_mar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = first_free_port(5)
    with socket.create_server(("127.0.0.1", first + 4)):
        assert tune.main([str(demo_mar), "--output", str(tmp_path / "tuned.mar"), "--port", str(first)]) == 1
    assert capsys.readouterr() == ("", f"error: port {first + 4}: already in use\n")


@dataclass
class Run:
    """What the command tried and wrote."""

    output: Path
    flags: list[str]
    networks: list[Trial]
    printed: str


@pytest.fixture(scope="module")
def tuned(tiny_mar: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Compiling takes long, so the command runs once for all tests."""
    output = tmp_path_factory.mktemp("tuned") / "tuned.mar"
    flags = ["--output", str(output), "--batches", "4", "--seconds", "1", "--clients", "2"]
    flags += ["--port", str(first_free_port(5)), "--photo", str(PHOTOS / "chelsea.png"), str(PHOTOS / "coffee.png")]
    networks: list[Trial] = []

    def recorded(*arguments: Any) -> list[Trial]:
        networks.extend(try_networks(*arguments))
        return networks

    threads = torch.get_num_threads()
    printed = io.StringIO()
    try:
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(printed):
            patch.setattr(tune, "available_cores", lambda: 1)
            patch.setattr(tune, "try_networks", recorded)
            code = tune.main([str(tiny_mar), *flags])
    finally:
        torch.set_num_threads(threads)
    assert code == 0, printed.getvalue()
    return Run(output, flags, networks, printed.getvalue())


@pytest.mark.slow
def test_each_network_is_compared_with_the_plain_one(tuned: Run) -> None:
    assert [trial.settings for trial in tuned.networks] == [
        {"engine": engine, "precision": precision} for precision in ("float32", "bfloat16") for engine in ENGINES
    ]
    differences = [trial.difference or 0 for trial in tuned.networks]
    float32, bfloat16 = differences[: len(ENGINES)], differences[len(ENGINES) :]
    assert float32[0] == 0
    assert max(float32) < 1e-4
    assert all(1e-4 < one < 0.1 for one in bfloat16)


@pytest.mark.slow
def test_the_best_is_written_with_its_evidence(tuned: Run, tiny_mar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"wrote    {tuned.output}  tiny 1.0-tuned, tuned from 1.0" in tuned.printed
    outline = read_outline(read_archive(tuned.output))
    evidence = outline.settings.tuned
    assert (outline.server.batchSize, outline.server.minWorkers) == (4, 1)
    assert len(evidence["networks"]) == 2 * len(ENGINES)
    [server] = evidence["servers"]
    assert server.keys() == {"minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "per_second"}
    assert (evidence["clients"], evidence["device"]) == (2, "cpu")

    assert tune.main([str(tiny_mar), *tuned.flags]) == 1
    assert "exists already" in capsys.readouterr().err
