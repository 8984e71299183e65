import pytest

from handler.errors import NoPayload
from handler.job import Batch, Job, queued_seconds
from handler.messages import Answer, Request
from handler.parser import Task

NOW = 1_700_000_000.5


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("1700000000250", 0.25),
        ("1700000000500", 0.0),
        ("1700000000505", 0.0),  # rounded up by the proxy
        ("1700000009000", None),  # another clock
        ("1600000000000", None),
        ("0", None),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("1" * 5000, None),
        ("١٧٠٠٠٠٠٠٠٠٢٥٠", None),
    ],
)
def test_only_an_arrival_that_can_be_is_believed(header: str, seconds: float | None) -> None:
    found = queued_seconds({"x-request-start": header}, NOW)
    assert found == (None if seconds is None else pytest.approx(seconds, abs=1e-6))


def test_without_the_header_there_is_no_arrival() -> None:
    assert queued_seconds({}, NOW) is None


def test_a_stage_s_time_is_kept_also_when_it_fails() -> None:
    def fail(item: int) -> int:
        raise ValueError("no")

    job = Job(Request("id"), Task("native"))
    assert job.timed("decode", lambda item: item + 1)(1) == 2
    with pytest.raises(ValueError, match="no"):
        job.timed("decode", fail)(1)
    assert len(job.seconds["decode"]) == 2
    assert job.seconds["preprocess"] == []


def test_bytes_are_those_of_the_images_that_came() -> None:
    job = Job(Request("id"), Task("v1", (b"12345", NoPayload(), b"123")), answer=Answer(200, b"{}"))
    fields = Batch([job] * 3, 0.5).log_fields(job)
    assert (fields["bytes"], fields["images"], fields["protocol"], fields["batch"]) == (8, 3, "v1", 3)
    assert fields["seconds"] == {"decode": 0, "preprocess": 0, "postprocess": 0, "inference": 0.5}
