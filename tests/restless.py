"""Clients that ask until nobody answers, for tests of stopping."""

import threading
from typing import Self

import requests
from samples import CHELSEA, PATIENCE

CLIENTS = 8


class Restless:
    """They ask without pause, each over a connection of its own for each request. Use it as a context manager: it waits
    until each of them was refused or cut off."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.outcomes: list[str] = []  # a status, `refused`, or what went wrong
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        self._failed = threading.Event()

    def _ask(self) -> None:
        while not self._failed.is_set():
            try:
                answer = requests.post(self.url, data=CHELSEA, timeout=PATIENCE)
                self.outcomes.append(str(answer.status_code))
            except requests.ConnectionError as error:
                refused = "Connection refused" in str(error)
                self.outcomes.append("refused" if refused else repr(error))
                return

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if any(error):
            self._failed.set()
        for thread in self._threads:
            thread.join()
