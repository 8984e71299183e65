import json
import logging
from collections.abc import Iterator

import pytest

from handler.log import FIELDS, about, log_as_json


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("test.log")
    yield logger
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.NOTSET)


def test_an_event_is_one_line_whatever_its_text_holds(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    log_as_json("test.log", {"model": "cats"})
    text = 'a "quoted"\n[METRICS]line\x1b[31m\u2028 – ünïcode'
    logger.warning("said: %s", text, extra={FIELDS: {"status": 200}})
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    assert out.isascii()
    line = json.loads(out)
    assert line["message"] == f"said: {text}"
    assert (line["level"], line["logger"], line["model"], line["status"]) == ("WARNING", "test.log", "cats", 200)
    assert line["time"].endswith("Z")


def test_a_traceback_stands_in_its_event(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    log_as_json("test.log")
    try:
        dict[str, int]()["client\ntext"]
    except KeyError:
        logger.exception("failed")
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    assert "KeyError" in json.loads(out)["trace"]


def test_set_up_twice_it_writes_once(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    log_as_json("test.log")
    log_as_json("test.log")
    logger.info("once")
    logger.debug("never")
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_line_begins_as_log4j_expects_it(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    """frontend/log4j2.xml tells by this what to pass on as it is."""
    log_as_json("test.log")
    logger.info("x")
    assert capsys.readouterr().out.startswith('{"time": ')


def test_lines_about_requests_name_them(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    log_as_json("test.log")
    with about("a", "b"):
        logger.error("both")
        with about("a"):
            logger.error("one of them")
    logger.error("none")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("request_ids") for line in lines] == [["a", "b"], None, None]
    assert [line.get("request_id") for line in lines] == [None, "a", None]
