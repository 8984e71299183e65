"""What a fault takes, and what it must not take."""

import os
import re
import signal
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests
from faulty import JAVA_MEMORY, QUEUE, WIDE, classify, wait_for_another_worker, worker
from logbook import said
from samples import CATS, CHELSEA, COFFEE, PATIENCE, encode, wait_for

from scripts.server.clients import Load, Question
from scripts.server.torchserve import TorchServe

# What TorchServe answers for a worker that is gone: 507 if it knows already that it was killed.
DIED = {500, 507}
RED, GREEN, BLUE, MAGENTA = (
    encode(np.full((64, 64, 3), colour, dtype=np.uint8))
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255))
)


def _at_once(server: TorchServe, photos: list[bytes], model: str = "faulty") -> list[requests.Response]:
    with ThreadPoolExecutor(len(photos)) as pool:
        return list(pool.map(lambda photo: classify(server, photo, model), photos))


def _labels(response: requests.Response) -> list[str]:
    return [label["name"] for label in response.json()["labels"]]


def _load(server: TorchServe, clients: int, photo: bytes = CHELSEA) -> Load:
    """Clients that ask `narrow` about Chelsea without pause."""
    question = Question(photo, 200, CATS[0])
    return Load(f"{server.inference}/predictions/narrow", clients, lambda _: question)


def _wait(load: Load, more: int) -> None:
    """Until so many more have been answered."""
    wanted = len(load.replies) + more
    wait_for(lambda: len(load.replies) >= wanted)


def test_kill_9_of_a_worker_takes_the_batch_in_its_hands_and_no_more(server: TorchServe) -> None:
    """Without maxBatchDelay: requests of a batch that is still filling are never answered, which tests/image bounds."""
    clients, batch = QUEUE, 4
    before = worker(server, "narrow")
    with _load(server, clients) as load:
        _wait(load, 4 * clients)
        os.kill(before, signal.SIGKILL)
        wait_for_another_worker(server, before, "narrow")
        _wait(load, 4 * clients)
    statuses = load.statuses()
    assert set(statuses) <= {200, *DIED}, statuses
    assert sum(statuses[status] for status in DIED) <= batch
    assert all(reply.right for reply in load.replies if reply.status == 200)


def test_beside_a_second_worker_a_killed_one_is_not_waited_for(server: TorchServe) -> None:
    """As `workers: auto` has it on two cores: the second answers until the first is back."""
    [archive] = [archive for archive in server.archives if archive.name == "narrow"]
    server.client.scale("narrow", "1.0", 2, PATIENCE)
    try:
        wait_for(lambda: server.ready(archive))
        before = _processes(server, "narrow")
        with _load(server, QUEUE) as load:
            _wait(load, 2 * QUEUE)
            os.kill(min(before), signal.SIGKILL)
            killed = len(load.replies)
            wait_for(lambda: _processes(server, "narrow") - before != set() and server.ready(archive))
            meanwhile = load.replies[killed:]
    finally:
        server.client.scale("narrow", "1.0", 1, PATIENCE)
    right = [reply for reply in meanwhile if reply.right]
    assert len(right) >= len(meanwhile) - 4, "the batch of the killed one"
    assert len(right) > 4 * QUEUE, "it takes seconds until the other is back"


def _processes(server: TorchServe, model: str) -> set[int]:
    return {int(each["pid"]) for each in server.client.describe(model)["workers"] if each["status"] == "READY"}


@pytest.mark.slow
def test_a_photo_that_kills_its_worker_takes_its_batch_and_no_other(server: TorchServe) -> None:
    before = worker(server, "paired")
    assert {answer.status_code for answer in _at_once(server, [GREEN, CHELSEA], "paired")} <= DIED
    answers = _at_once(server, [CHELSEA] * 2, "paired")  # they wait in the queue for the next worker
    assert [_labels(answer) for answer in answers] == [CATS] * 2
    assert worker(server, "paired") != before


def test_a_network_that_hangs_is_ended_and_says_where(server: TorchServe) -> None:
    before = worker(server, "paired")
    with ThreadPoolExecutor(6) as pool:
        hanging = [pool.submit(classify, server, RED, "paired") for _ in range(2)]
        wait_for(lambda: any(event["message"] == "hangs" for event in said(server)))  # the others are the next batches
        others = [pool.submit(classify, server, CHELSEA, "paired") for _ in range(4)]
        assert [each.result().status_code for each in hanging] == [500] * 2
        assert [_labels(other.result()) for other in others] == [CATS] * 4
    assert worker(server, "paired") != before
    trace = "".join(event["message"] for event in said(server))
    # 10 s, or more where a busy machine made the warm-up slow; responseTimeout is 60 s.
    assert re.search(r"Timeout \(0:00:[1-5]\d(\.\d+)?\)!", trace)
    assert "in _scores_with_faults" in trace


def test_a_batch_that_memory_does_not_do_for_is_split(server: TorchServe) -> None:
    before = worker(server)
    answers = _at_once(server, [CHELSEA, BLUE, COFFEE])
    assert [answer.status_code for answer in answers] == [200] * 3
    assert _labels(answers[0]) == CATS
    assert worker(server) == before


def test_what_memory_does_not_do_for_alone_is_503_and_its_neighbours_are_answered(server: TorchServe) -> None:
    before = worker(server)
    answers = _at_once(server, [CHELSEA, MAGENTA, COFFEE])
    assert [answer.status_code for answer in answers] == [200, 503, 200]
    assert answers[1].json()["error"]["code"] == "out_of_memory"
    assert answers[1].headers["Retry-After"] == "5"
    assert worker(server) == before


def test_a_batch_of_32_with_poison(server: TorchServe) -> None:
    poison: dict[int, tuple[bytes, int, str]] = {
        0: (b"no image", 415, "not_an_image"),
        5: (CHELSEA[:9000], 422, "corrupt_image"),
        17: (b"", 400, "no_payload"),
        30: (encode(np.zeros((2, 100, 3), dtype=np.uint8)), 422, "extreme_aspect_ratio"),
        31: (MAGENTA, 503, "out_of_memory"),
    }
    answers = _at_once(server, [poison[index][0] if index in poison else CHELSEA for index in range(WIDE)])
    for index, answer in enumerate(answers):
        if index in poison:
            assert (answer.status_code, answer.json()["error"]["code"]) == poison[index][1:]
        else:
            assert _labels(answer) == CATS


@pytest.mark.slow
def test_an_answer_that_is_too_long_takes_its_batch_and_the_worker(server: TorchServe) -> None:
    """TorchServe's way; `make check-settings` says whether it can happen."""
    before = worker(server)
    photos = {f"image{index}": CHELSEA for index in range(16)}
    everything = {"threshold": "0.0001", "top_k": "13", "all_scores": "true"}
    url = f"{server.inference}/predictions/faulty"
    assert requests.post(url, files=photos, data=everything, timeout=PATIENCE).status_code == 500
    assert _labels(classify(server, CHELSEA)) == CATS
    assert worker(server) != before


def test_a_full_queue_refuses_and_serves_on(server: TorchServe) -> None:
    """And keeps nothing of what it refused: those bodies are more than Java has memory for."""
    before = worker(server, "narrow")
    large = CHELSEA + bytes(2**20)  # nobody reads behind the end of a PNG
    statuses: Counter[int | None] = Counter()
    while statuses[503] * len(large) < 4 * JAVA_MEMORY:
        with _load(server, 4 * QUEUE, large) as load:
            _wait(load, 200)
        assert all("no worker to serve" in reply.text for reply in load.replies if reply.status == 503)
        statuses += load.statuses()
    assert statuses.keys() == {200, 503}, statuses
    with _load(server, QUEUE // 2) as after:
        _wait(after, 50)
    assert after.statuses().keys() == {200}
    assert worker(server, "narrow") == before


def test_half_sent_requests_hold_nobody_up(server: TorchServe) -> None:
    head = b"POST /predictions/narrow HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + CHELSEA[:1000]
    slow: list[socket.socket] = []
    try:
        for _ in range(200):
            slow.append(socket.create_connection(("127.0.0.1", server.ports.inference), timeout=PATIENCE))
            slow[-1].sendall(head)
        for _ in range(5):
            assert _labels(classify(server, CHELSEA, "narrow")) == CATS
    finally:
        for each in slow:
            each.close()
    assert _labels(classify(server, CHELSEA, "narrow")) == CATS


@pytest.mark.parametrize("length", [10, 10_000_000])
def test_a_body_that_never_ends_as_said_is_nobody_elses_business(server: TorchServe, length: int) -> None:
    with socket.create_connection(("127.0.0.1", server.ports.inference), timeout=PATIENCE) as client:
        client.sendall(f"POST /predictions/narrow HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
        client.sendall(CHELSEA[:5])
    assert _labels(classify(server, CHELSEA, "narrow")) == CATS
