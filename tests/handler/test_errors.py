import json
import logging

import pytest

from handler import errors
from handler.errors import BadOption, ItemError, attempt, error_body

KINDS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ItemError)]


def test_codes_are_distinct_and_statuses_are_the_clients_fault() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS)
    assert all(400 <= kind.status < 500 for kind in KINDS if kind is not ItemError)


def test_body() -> None:
    body = error_body(BadOption("top_k: no."), 3)
    assert body == {"error": {"code": "bad_option", "message": "top_k: no.", "index": 3}}


def test_a_failed_item_is_passed_along() -> None:
    failed = BadOption("no")
    assert attempt(lambda _: pytest.fail("ran"), failed) is failed


def test_what_a_stage_raises_takes_the_items_place() -> None:
    def refuse(item: int) -> int:
        raise BadOption(f"not {item}")

    outcome = attempt(refuse, 3)
    assert isinstance(outcome, BadOption)
    assert str(outcome) == "not 3"
    assert attempt(lambda item: item + 1, 3) == 4


def test_an_unforeseen_failure_is_one_escaped_log_line(caplog: pytest.LogCaptureFixture) -> None:
    def fail(item: str) -> None:
        raise KeyError(item)

    with caplog.at_level(logging.ERROR):
        outcome = attempt(fail, "client\n[METRICS]text")
    assert isinstance(outcome, ItemError)
    assert (outcome.status, outcome.code) == (500, "internal_error")
    assert "client" not in str(outcome)
    [record] = caplog.records
    assert "\n" not in record.getMessage()
    assert "KeyError" in json.loads(record.getMessage().split(": ", 1)[1])
