"""The processes of a server, and what they take. One that ends while it is looked at counts as nothing."""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from scripts.server.torchserve import ServerError

WORKER = "model_service_worker"


def java_process(process_id: int) -> psutil.Process:
    """Raises ServerError if it has ended."""
    try:
        return psutil.Process(process_id)
    except psutil.NoSuchProcess:
        raise ServerError("TorchServe ended") from None


def family(process_id: int) -> list[psutil.Process]:
    """A process and all that come from it, the eldest first; none if it has ended."""
    with suppress(psutil.NoSuchProcess):
        eldest = psutil.Process(process_id)
        return [eldest, *eldest.children(recursive=True)]
    return []


def memory_mb(java: psutil.Process) -> dict[str, float]:
    """Resident memory in MB of Java, and of all its workers together. Raises ServerError if Java has ended."""
    workers = 0
    try:
        children = java.children()
        own = java.memory_info().rss
    except psutil.NoSuchProcess:
        raise ServerError("TorchServe ended") from None
    for child in children:
        with suppress(psutil.NoSuchProcess):
            if WORKER in " ".join(child.cmdline()):
                workers += child.memory_info().rss
    return {"java_mb": own / 1e6, "workers_mb": workers / 1e6}


def processor_seconds(java: psutil.Process, kinds: Mapping[str, str]) -> dict[str, float]:
    """Processor time so far: of Java's threads by kind, and of its workers as `python`.

    kinds: the kind of threads by how their names begin; others are `rest`. Raises ServerError if Java has ended.
    """
    used: dict[str, float] = defaultdict(float)
    try:
        threads, workers = java.threads(), java.children(recursive=True)
    except psutil.NoSuchProcess:
        raise ServerError("TorchServe ended") from None
    for thread in threads:
        with suppress(FileNotFoundError, ProcessLookupError):
            name = Path(f"/proc/{java.pid}/task/{thread.id}/comm").read_text(encoding="utf-8")
            kind = next((kind for start, kind in kinds.items() if name.startswith(start)), "rest")
            used[kind] += thread.user_time + thread.system_time
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            used["python"] += sum(worker.cpu_times()[:2])
    return used
