import json
from pathlib import Path

import pytest

from scripts.server.worker_log import LOG, WorkerLog

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
    assert not watched.readable()
    other = ("Backend worker process died.", "Traceback (most recent call last):", "ValueError: not this one")
    log.write_text(_lines("W-9001-other_1.0-stdout", *other) + _lines("W-9000-tiny_1.0-stdout", *DEATH))
    assert watched.readable()
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
