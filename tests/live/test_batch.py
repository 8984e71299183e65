"""Requests that share a batch, on the real server."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from archives import renamed
from logbook import requests_of
from samples import CATS, CHELSEA, COFFEE, PATIENCE, Send, wait_for

from scripts.server.torchserve import TorchServe

GOOD = {"data": CHELSEA}
POISON: dict[int, tuple[dict[str, Any], int, str]] = {
    1: ({"data": b"no image"}, 415, "not_an_image"),
    4: ({"data": CHELSEA[:9000]}, 422, "corrupt_image"),
    6: ({"json": {"image": "?"}}, 400, "bad_base64"),
}


@pytest.fixture(scope="module", autouse=True)
def patient(server: TorchServe, store: Path, demo_mar: Path) -> Iterator[None]:
    """The demo again, whose batches wait until they are full."""
    renamed(demo_mar, store / "patient.mar", "patient", batchSize=8, maxBatchDelay=60_000)
    server.client.register("patient.mar", PATIENCE)
    yield
    server.client.unregister("patient", "1.0", PATIENCE)
    (store / "patient.mar").unlink()


def _at_once(send: Send, wanted: list[dict[str, Any]]) -> list[requests.Response]:
    with ThreadPoolExecutor(len(wanted)) as pool:
        return list(pool.map(lambda each: send("/predictions/patient", **each), wanted))


class Batches:
    """The sizes of the batches in which requests came to `patient` since it was made: one for each request."""

    def __init__(self, server: TorchServe) -> None:
        self._server = server
        self._before = len(requests_of(server, "patient"))

    def sizes(self, wanted: int) -> list[int]:
        """Waits until the log has as many requests: it is written after the answers."""
        wait_for(lambda: len(self._found()) >= wanted)
        return [each["batch"] for each in self._found()]

    def _found(self) -> list[dict[str, Any]]:
        return requests_of(self._server, "patient")[self._before :]


def test_eight_requests_of_which_three_are_poisoned(server: TorchServe, send: Send) -> None:
    batches = Batches(server)
    responses = _at_once(send, [POISON[index][0] if index in POISON else GOOD for index in range(8)])
    assert batches.sizes(8) == [8] * 8, "the eight did not share one batch"
    for index, response in enumerate(responses):
        if index in POISON:
            assert (response.status_code, response.json()["error"]["code"]) == POISON[index][1:]
        else:
            assert response.status_code == 200
            assert [label["name"] for label in response.json()["labels"]] == CATS


@pytest.mark.parametrize("header", ["describe", "explain", "Describe", "Explain"])
def test_a_header_of_one_client_breaks_nobody_elses_request(server: TorchServe, send: Send, header: str) -> None:
    """TorchServe's own BaseHandler reads these of the first request, and answers for the whole batch."""
    batches = Batches(server)
    responses = _at_once(send, [{**GOOD, "headers": {header: "True"}} if index % 2 else GOOD for index in range(8)])
    assert batches.sizes(8) == [8] * 8
    assert [response.status_code for response in responses] == [200] * 8
    assert all(len(response.json()["labels"]) == 3 for response in responses)


def test_all_forms_in_one_batch(server: TorchServe, send: Send) -> None:
    batches = Batches(server)
    wanted: list[dict[str, Any]] = [
        {"data": CHELSEA},
        {"files": {"data": COFFEE}},
        {"files": {"image1": COFFEE, "image2": CHELSEA}, "data": {"top_k": "1"}},
        {"json": []},
        {"json": {"instances": [5]}},
        {"data": b""},
        {"data": CHELSEA, "headers": {"X-Top-K": "0"}},
        {"data": COFFEE},
    ]
    responses = _at_once(send, wanted)
    assert batches.sizes(8) == [8] * 8
    assert [response.status_code for response in responses] == [200, 200, 200, 400, 400, 400, 200, 200]
    bodies = [response.json() for response in responses]
    assert [len(one["labels"]) for one in bodies[2]["predictions"]] == [0, 3]
    assert [len(one["top_k"]) for one in (bodies[0], bodies[6])] == [5, 0]
    assert (len(bodies[0]["labels"]), len(bodies[1]["labels"]), len(bodies[7]["labels"])) == (3, 0, 0)
