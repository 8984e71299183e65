"""Clients that send requests without pause, each over its own connection: for measurements and tests."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import requests

from scripts.server.background import Background
from scripts.server.session import direct_session

TIMEOUT = 120.0  # seconds


@dataclass(frozen=True)
class Question:
    """A request and its expected answer."""

    body: bytes
    status: int = 200
    label: str | None = None  # a label that the answer must have


@dataclass(frozen=True)
class Reply:
    question: Question
    status: int | None  # None if there was no answer; `text` then has the cause
    text: str
    started: float  # of time.monotonic()
    seconds: float

    @property
    def right(self) -> bool:
        if self.status != self.question.status or self.question.label is None:
            return self.status == self.question.status
        return self.question.label in [label["name"] for label in json.loads(self.text)["labels"]]


class Load(Background):
    """Sends questions while the block runs, or until `limit` of them are sent."""

    def __init__(self, url: str, clients: int, ask: Callable[[int], Question], limit: int | None = None) -> None:
        """ask: returns the question with a number, from 0 on."""
        super().__init__(*[self._run] * clients)
        self.replies: list[Reply] = []
        self._url = url
        self._ask = ask
        self._limit = limit
        self._asked = 0
        self._lock = threading.Lock()

    def statuses(self) -> Counter[int | None]:
        return Counter(reply.status for reply in self.replies)

    def _run(self) -> None:
        with direct_session() as session:
            while not self._over.is_set() and (question := self._next()) is not None:
                self.replies.append(self._send(session, question))

    def _next(self) -> Question | None:
        with self._lock:
            if self._limit is not None and self._asked >= self._limit:
                return None
            self._asked += 1
            return self._ask(self._asked - 1)

    def _send(self, session: requests.Session, question: Question) -> Reply:
        started = time.monotonic()
        try:
            answer = session.post(
                self._url,
                data=question.body,
                headers={"Content-Type": "application/octet-stream"},
                timeout=TIMEOUT,
            )
            status, text = answer.status_code, answer.text
        except requests.RequestException as error:
            status, text = None, repr(error)
        return Reply(question, status, text, started, time.monotonic() - started)
