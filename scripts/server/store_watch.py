"""Counts the broken files of the model store while it serves, so that somebody hears of them before the next start."""

import time
from collections.abc import Collection
from pathlib import Path

from handler.errors import LoadError
from scripts.archive.manifest import Archive, scan_store
from scripts.server.proxy import Proxy

PERIOD = 60.0  # seconds


class StoreWatch:
    def __init__(self, store: Path, proxy: Proxy) -> None:
        self._store = store
        self._proxy = proxy
        self._next = 0.0  # when to look again
        self._refused = 0  # archives that TorchServe had refused at the last look

    def look(self, refused: Collection[Archive]) -> None:
        """Tells haproxy, once a minute and when TorchServe has refused another archive, how many files the next start
        would leave out. refused: by TorchServe. Raises OSError if haproxy doesn't answer."""
        now = time.monotonic()
        if now < self._next and len(refused) == self._refused:
            return
        self._next, self._refused = now + PERIOD, len(refused)
        self._proxy.set_broken_files(broken_files(self._store, refused))


def broken_files(store: Path, refused: Collection[Archive] = ()) -> int:
    """Archives that can't be read, hold a version that another file holds, or were refused by TorchServe and are still
    there. A store that can't be read counts as one."""
    try:
        archives, problems = scan_store(store)
    except LoadError:
        return 1
    return len(problems) + sum(archive in refused for archive in archives)
