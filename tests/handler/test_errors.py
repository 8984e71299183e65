import json

import pytest

from handler import errors
from handler.errors import BadOption, ItemError, OutOfMemory, attempt, error_body
from handler.log import JsonFormatter

KINDS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ItemError)]


def test_codes_are_distinct_and_statuses_are_the_clients_fault() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS)
    ours = (ItemError, OutOfMemory)
    assert all(400 <= kind.status < 500 for kind in KINDS if kind not in ours)


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


def test_an_unforeseen_failure_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def fail(item: str) -> None:
        raise KeyError(item)

    outcome = attempt(fail, "client\n[METRICS]text")
    assert isinstance(outcome, ItemError)
    assert (outcome.status, outcome.code) == (500, "internal_error")
    assert "client" not in str(outcome)
    [record] = caplog.records
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "KeyError" in json.loads(line)["trace"]


def test_a_lack_of_memory_is_said_as_such(caplog: pytest.LogCaptureFixture) -> None:
    def fail(item: str) -> None:
        raise MemoryError

    outcome = attempt(fail, "item")
    assert isinstance(outcome, OutOfMemory)
    assert (outcome.status, outcome.code) == (503, "out_of_memory")
    assert caplog.messages == ["out of memory at an item"]
