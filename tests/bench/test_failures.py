"""Every measurement that can't go on says so in one line."""

import argparse
import subprocess
from pathlib import Path
from types import ModuleType

import psutil
import pytest
from samples import PHOTOS

from bench import answers, failures, faults, java_share, run, scaling, soak, stages, start
from handler.errors import LoadError

PHOTO = str(PHOTOS / "chelsea.png")
FLAGS = {
    answers: [PHOTO],
    faults: ["--photo", PHOTO],
    scaling: ["--photo", PHOTO],
    soak: ["--photo", PHOTO],
    stages: [PHOTO],
    start: [],
}


@pytest.mark.parametrize("measurement", FLAGS, ids=lambda measurement: measurement.__name__)
def test_a_missing_archive_is_one_line(
    measurement: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measurement.main([*FLAGS[measurement], "--archive", str(tmp_path / "gone.mar")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'gone.mar'}: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("measurement", [faults, soak], ids=lambda measurement: measurement.__name__)
def test_a_missing_photo_is_one_line(
    measurement: ModuleType, demo_mar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--photo", str(tmp_path / "gone.png"), "--archive", str(demo_mar)]
    assert measurement.main(flags) == 1
    error = capsys.readouterr().err
    assert "gone.png" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (LoadError("a.mar", "missing"), "error: a.mar: missing\n"),
        (psutil.NoSuchProcess(7, msg="gone"), "error: gone (pid=7)\n"),
        (subprocess.CalledProcessError(1, ["python", "x"]), "error: Command '['python', 'x']' returned non-zero exit"),
        (OSError(28, "No space\nleft"), "error: [Errno 28] No space left\n"),
        (MemoryError(), "error: out of memory\n"),
    ],
)
def test_what_can_stop_a_measurement(error: Exception, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    def measure(options: argparse.Namespace) -> int:
        raise error

    assert failures.run(measure, argparse.Namespace()) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(line)
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--only", "FastAPI"], "--only: FastAPI: expected a part of 'this project, as packaged'"),
        (["--only", "FastAPI", "LitServe"], "--only: FastAPI LitServe: expected a part of 'this project, as packaged'"),
        (["--sizes", "500x375"], "--sizes: 500x375: one size, expected two or more"),
    ],
)
def test_a_benchmark_without_a_report_is_refused_before_it_is_measured(
    flags: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "find_wrk", lambda: "wrk")
    monkeypatch.setattr(run, "measure", lambda *_: pytest.fail("measured"))
    assert run.main(["--photo", PHOTO, "--output", str(tmp_path / "bench"), *flags]) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_a_size_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main(["--photo", PHOTO, "--sizes", "500", "1280x960"])
    assert ended.value.code == 2
    assert "'500', expected WIDTHxHEIGHT in pixels" in capsys.readouterr().err


def test_java_share_without_an_archive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java_share, "find_wrk", lambda: "wrk")
    assert java_share.main([PHOTO, "--archive", str(tmp_path / "gone.mar")]) == 1
    assert "gone.mar: missing" in capsys.readouterr().err
