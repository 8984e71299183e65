import json
from pathlib import Path

import pytest

from scripts.server.worker_log import DIED, LOG, WorkerLog

DEATH = (
    "Torch worker started.",
    "Backend worker process died.",
    "Traceback (most recent call last):",
    '  File "worker.py", line 263, in <module>',
    "    worker.run_server()",
    "handler.errors.LoadError: golden.json: noise.bmp: failed",
    "s_name_part0=/tmp/.ts.sock, s_name_part1=9000, pid=7",
)


def _lines(thread: str, *messages: str) -> str:
    return "".join(json.dumps({"thread": thread, "message": message}) + "\n" for message in messages)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / LOG


def test_the_cause_of_a_death_is_the_exceptions_own_line(tmp_path: Path, log: Path) -> None:
    watched = WorkerLog(tmp_path)
    assert watched.death("tiny", "1.0") is None
    assert watched.hint() == "; the server's log has the worker's error"
    other = ("Backend worker process died.", "Traceback (most recent call last):", "ValueError: not this one")
    log.write_text(_lines("W-9001-other_1.0-stdout", *other) + _lines("W-9000-tiny_1.0-stdout", *DEATH))
    assert watched.hint() == ""
    assert watched.death("tiny", "1.0") == "handler.errors.LoadError: golden.json: noise.bmp: failed"
    assert watched.death("other", "1.0") == "ValueError: not this one"
    assert watched.death("third", "1.0") is None
    assert watched.death("tiny", "2.0") is None
    assert watched.death("9000-tiny", "1.0") is None


def test_only_what_came_since_counts(tmp_path: Path, log: Path) -> None:
    log.write_text(_lines("W-9000-tiny_1.0-stdout", *DEATH))
    watched = WorkerLog(tmp_path)
    assert watched.death("tiny", "1.0") is None
    log.write_text(_lines("W-9000-tiny_1.0-stdout", *DEATH[:3], "ValueError: x"))  # begun anew, and shorter
    assert watched.death("tiny", "1.0") == "ValueError: x"


def test_what_is_no_event_of_the_front_end_is_passed_over(tmp_path: Path, log: Path) -> None:
    watched = WorkerLog(tmp_path)
    own = json.dumps({"time": "", "message": "Backend worker process died.", "model": "tiny"})
    log.write_text(f"plain\n[]\n{own}\n" + _lines("W-9000-tiny_1.0-stdout", *DEATH) + '{"thread": "W-90')
    assert watched.death("tiny", "1.0") == "handler.errors.LoadError: golden.json: noise.bmp: failed"


def test_the_cause_outlives_a_rotation_of_the_log(tmp_path: Path, log: Path) -> None:
    watched = WorkerLog(tmp_path)
    log.write_text(_lines("W-9000-tiny_1.0-stdout", *DEATH))
    assert watched.death("tiny", "1.0") == DEATH[-2]
    log.rename(tmp_path / "torchserve.1.log")
    assert watched.death("tiny", "1.0") == DEATH[-2], "while there is no log"
    log.write_text(_lines("W-9000-tiny_1.0-stdout", "starting"))
    assert watched.death("tiny", "1.0") == DEATH[-2]
    with log.open("a") as file:
        file.write(_lines("W-9000-tiny_1.0-stdout", *DEATH[:3], "ValueError: x"))
    assert watched.death("tiny", "1.0") == "ValueError: x"


def test_a_rotated_log_is_read_from_its_start_however_long_it_is(tmp_path: Path, log: Path) -> None:
    log.write_text("old\n")
    watched = WorkerLog(tmp_path)
    log.rename(tmp_path / "torchserve.1.log")
    log.write_text(_lines("W-9000-tiny_1.0-stdout", *DEATH))
    assert log.stat().st_size > len("old\n")
    assert watched.death("tiny", "1.0") == DEATH[-2]


def test_the_cause_of_the_last_try_stays_while_the_next_is_being_written(tmp_path: Path, log: Path) -> None:
    watched = WorkerLog(tmp_path)
    log.write_text(_lines("W-9000-tiny_1.0-stdout", *DEATH, *DEATH[:4]))
    assert watched.death("tiny", "1.0") == DEATH[-2]


def test_two_workers_that_die_at_once_are_told_apart(tmp_path: Path, log: Path) -> None:
    watched = WorkerLog(tmp_path)
    first, second = "W-9000-tiny_1.0-stdout", "W-9001-tiny_1.0-stdout"
    log.write_text(_lines(first, DIED) + _lines(second, "Torch worker started.") + _lines(first, *DEATH[2:]))
    assert watched.death("tiny", "1.0") == DEATH[-2]


def test_each_line_is_read_once(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = WorkerLog(tmp_path)
    log.write_text(_lines("W-9000-tiny_1.0-stdout", *DEATH))
    parsed: list[bytes] = []
    monkeypatch.setattr("scripts.server.worker_log.json.loads", parsed.append)
    for _ in range(3):
        watched.death("tiny", "1.0")
        watched.death("other", "1.0")
    assert len(parsed) == len(DEATH)
    with log.open("a") as file:
        file.write(_lines("W-9000-tiny_1.0-stdout", "half")[:-1])
        file.flush()
        watched.death("tiny", "1.0")
        assert len(parsed) == len(DEATH), "a line that is not complete yet"
        file.write("\n")
    watched.death("tiny", "1.0")
    assert len(parsed) == len(DEATH) + 1
