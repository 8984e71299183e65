"""What runs beside the code that starts it."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Background:
    """Threads that run while the block runs. Use it as a context manager. Each looks at `_over` now and then."""

    def __init__(self, *runs: Callable[[], None]) -> None:
        """runs: what each thread does."""
        self._over = threading.Event()
        self._threads = [threading.Thread(target=run) for run in runs]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)
