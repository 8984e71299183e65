"""How wrk's results are read, with a script in the place of wrk."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.load import PATIENCE, WrkError, ask

Wrk = Callable[[dict[str, Any]], Path]
ANSWERED = {"requests": 12, "seconds": 4.0, "refused": 0, "failed": 0, "p50": 0.2, "p99": 0.4}
SILENT = {**ANSWERED, "requests": 0, "p50": 0.0, "p99": 0.0}


@pytest.fixture
def wrk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wrk:
    """Makes a wrk that prints a result for each duration, and returns the file that lists the durations."""

    def make(results: dict[str, Any]) -> Path:
        cases = "".join(f"  *' -d{seconds} '*) echo '{json.dumps(result)}';;\n" for seconds, result in results.items())
        script = f'#!/bin/sh\necho "$3" >> {tmp_path}/asked\ncase " $* " in\n{cases}esac\n'
        (tmp_path / "wrk").write_text(script)
        (tmp_path / "wrk").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        return tmp_path / "asked"

    return make


def test_a_rate_and_its_latencies(wrk: Wrk) -> None:
    wrk({"4s": ANSWERED})
    outcome = ask("http://here", 2, 4, "raw", [Path("a.jpg")])
    assert (outcome.answers, outcome.rate, outcome.p50, outcome.p99) == (12, 3.0, 0.2, 0.4)


def test_a_run_without_an_answer_is_run_again_twice_as_long(wrk: Wrk) -> None:
    asked = wrk({"1s": SILENT, "2s": SILENT, "4s": ANSWERED})
    assert ask("http://here", 2, 1, "raw", [Path("a.jpg")]).rate == 3.0
    assert asked.read_text().split() == ["-d1s", "-d2s", "-d4s"]


def test_a_server_that_never_answers_is_named(wrk: Wrk) -> None:
    asked = wrk({f"{PATIENCE:g}s": SILENT, "100s": SILENT})
    with pytest.raises(WrkError, match=r"http://here: no answer within 120 s"):
        ask("http://here", 2, 100, "raw", [Path("a.jpg")])
    assert asked.read_text().split() == ["-d100s", "-d120s"]


@pytest.mark.parametrize("wrong", [{"refused": 1}, {"failed": 2}, {"refused": 3, "requests": 0}])
def test_a_wrong_answer_is_no_measurement(wrk: Wrk, wrong: dict[str, int]) -> None:
    wrk({"4s": {**ANSWERED, **wrong}})
    with pytest.raises(WrkError, match=r"http://here: \d answers not 200 and \d failures, expected none"):
        ask("http://here", 2, 4, "raw", [Path("a.jpg")])
