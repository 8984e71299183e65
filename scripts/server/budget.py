"""How a server divides its memory, computed before it starts: workers, decoding, Java, and the bodies of requests.

Without it, 32 clients that send 9.9 MB at once fill Java's memory, and nobody is answered any more.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from handler.memory import DECODING, decoding_memory
from handler.server_settings import DEFAULT_WORKERS, ServerSettings
from handler.settings import Limits
from scripts.archive.outline import Outline
from scripts.server.workers import most_workers

CGROUPS = Path("/sys/fs/cgroup")
MACHINE = Path("/proc/meminfo")
MIB = 2**20

# What bench/footprint.py measures, of a server that has answered some requests.
JAVA = 150 * MIB  # without its heap and direct memory
HEAP, DIRECT = 64 * MIB, 48 * MIB  # without the bodies of requests
LIBRARIES = 460 * MIB  # of a worker, with what a batch takes inside the network
CONVERTED = 380 * MIB  # the same without timm and torch's compiler
WEIGHTS = 3.4  # times the file: as loaded, recorded, and while it is read
OTHERS = 84 * MIB  # haproxy, the entry point and the process for metadata

SMALL_BODY = MIB // 2  # bytes; a larger body waits in a queue of its own
SMALL_BODIES = 64  # enough for what few and small workers take
LARGE_BODIES = 64  # the most; more would fill a heap of gigabytes, and wait for the workers there
# Copies of a body at a time, at the most: while a form is parsed, or as a message to the worker that grows; as Java
# keeps it, with what isn't collected yet; and in a worker, as JSON, as base64 and as an image.
DIRECT_COPIES, HEAP_COPIES, WORKER_COPIES = 3.0, 3.0, 3.0
LEAST_BODY = 4 * MIB  # an ordinary photo of 12 megapixels, and what decoding it takes
LEAST_DECODING = 64 * MIB


class MemoryBudgetError(Exception):
    """The memory does not suffice; the message has the amount that would."""


@dataclass(frozen=True)
class Budget:
    """Bytes, and the numbers of bodies that may be in TorchServe at once."""

    available: int
    default_workers: int  # how many a model gets that doesn't say so
    workers: int  # bytes of all, as loaded
    decoding: int  # of each worker
    heap: int
    direct: int
    small_bodies: int  # of at most SMALL_BODY
    large_bodies: int
    max_body: int

    def __str__(self) -> str:
        return (
            f"memory: of {_mib(self.available)} workers {_mib(self.workers)} ({self.default_workers} of a model "
            f"without minWorkers), decoding {_mib(self.decoding)} in each, "
            f"Java's heap {_mib(self.heap)} and direct memory {_mib(self.direct)}; bodies at once: "
            f"{self.small_bodies} up to {SMALL_BODY // 1024} KiB, {self.large_bodies} up to {_mib(self.max_body)}"
        )

    def variables(self) -> dict[str, str]:
        """Those that TorchServe and the workers read."""
        return {
            DECODING: str(self.decoding),
            DEFAULT_WORKERS: str(self.default_workers),
            "TS_MAX_REQUEST_SIZE": str(self.max_body),
        }

    def java_options(self) -> list[str]:
        """Those of Java.

        The default collector, G1, doesn't move arrays as large as bodies, so that the heap is full while half of it is
        free. Netty's pools take direct memory in pieces of 16 MiB for each thread; here of 2 MiB. An exhausted heap
        ends Java, which would go on without the threads that met it.
        """
        return [
            "-XX:+UseSerialGC",
            f"-Xmx{self.heap}",
            f"-XX:MaxDirectMemorySize={self.direct}",
            "-XX:+ExitOnOutOfMemoryError",
            "-Dio.netty.allocator.maxOrder=8",
        ]


def available_memory(cgroups: Path = CGROUPS, machine: Path = MACHINE) -> int:
    """Bytes that this process and its children may take: the container's limit, else the machine's memory."""
    [total] = [line.split()[1] for line in machine.read_text().splitlines() if line.startswith("MemTotal:")]
    sizes = [int(total) * 1024]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # cgroup version 2, and version 1
        try:
            limit = (cgroups / name).read_text().strip()
        except OSError:
            continue
        if limit.isdecimal():
            sizes.append(int(limit))
    return min(sizes)


def plan(available: int, models: Sequence[Outline], max_body: int, most: int | None = None) -> Budget:
    """Divides the memory, and decides how many workers a model gets that doesn't say so.

    They are as many as `most`, by default one a core or a graphics card, where each can then decode the costliest
    images, and a second version of each model fits beside the first; else fewer. Where all say so, a later one gets as
    many as they; without any, one. models: those that are loaded at the start. max_body: bytes. Raises
    MemoryBudgetError.
    """
    said = [model.server.minWorkers for model in models]
    if None not in said:
        return _divide(available, models, max_body, max((number or 1 for number in said), default=1))
    for workers in range(most or most_workers(), 1, -1):
        try:
            budget = _divide(available, models, max_body, workers)
            _divide(available, [*models, *models], max_body, workers)
        except MemoryBudgetError:
            continue
        if budget.decoding >= _wanted(models):
            return budget
    return _divide(available, models, max_body, 1)


def _wanted(models: Sequence[Outline]) -> int:
    """Bytes with which a worker decodes the costliest image that its limits allow."""
    each = [decoding_memory(model.settings.limits, model.settings.decode == "scaled") for model in models]
    return max(each, default=decoding_memory(Limits(), scaled=True))


def _divide(available: int, models: Sequence[Outline], max_body: int, default_workers: int) -> Budget:
    """The most bodies, up to twice what the workers take at a time, that fit beside decoding the costliest images.

    Where even one large body doesn't fit beside that, decoding gets less, and images that need more are refused.
    default_workers: of a model that doesn't say how many. Raises MemoryBudgetError.
    """
    servers = [model.server for model in models] or [ServerSettings()]
    limits = [model.settings.limits for model in models] or [Limits()]
    numbers = [server.minWorkers or default_workers for server in servers]
    workers = sum(numbers)
    at_a_time = sum(server.batchSize * number for server, number in zip(servers, numbers, strict=True))
    weights = sum(model.sizes.weights * number for model, number in zip(models, numbers, strict=False))
    libraries = [CONVERTED if model.converted else LIBRARIES for model in models] or [LIBRARIES]
    loaded = sum(map(operator.mul, libraries, numbers)) + round(WEIGHTS * weights)
    wanted = _wanted(models)
    most = max(decoding_memory(limit, scaled=False) for limit in limits)
    # The archives are unpacked into /tmp, which may be in memory.
    left = available - loaded - JAVA - OTHERS - sum(model.sizes.all for model in models)
    full = min(2 * at_a_time, LARGE_BODIES)
    bodies = [(number, max_body) for number in range(full, 0, -1)]
    bodies += [(1, max_body // part) for part in (2, 4) if max_body // part >= LEAST_BODY]

    def divide(large: int, size: int) -> Budget:
        small = min(max(SMALL_BODIES, 2 * at_a_time), 8 + 4 * large)
        held = small * SMALL_BODY + large * size
        heap, direct = HEAP + round(HEAP_COPIES * held), DIRECT + round(DIRECT_COPIES * held)
        batches = _largest(at_a_time, (large, size), (small, SMALL_BODY))
        decoding = (left - heap - direct - round(WORKER_COPIES * batches)) // workers
        return Budget(available, default_workers, loaded, decoding, heap, direct, small, large, size)

    budgets = [divide(number, size) for number, size in bodies]
    for least in (wanted, LEAST_DECODING):
        for budget in budgets[0 if least == wanted else full - 1 :]:
            if budget.decoding >= least:
                return replace(budget, decoding=min(budget.decoding, most))
    suffices = available + (LEAST_DECODING - budgets[-1].decoding) * workers
    raise MemoryBudgetError(
        f"memory: {_mib(available)} is too little for {workers} worker{'s' if workers > 1 else ''} of "
        f"{_mib(loaded // workers)}, Java and the bodies of requests; {_mib(suffices + MIB - 1)} would do. "
        "Give it more, or lower minWorkers"
    )


def _largest(number: int, *kinds: tuple[int, int]) -> int:
    """Bytes of so many bodies, the largest first. kinds: how many there are, and of how many bytes each."""
    total = 0
    for there, size in kinds:
        taken = min(number, there)
        total, number = total + taken * size, number - taken
    return total


def _mib(amount: int) -> str:
    return f"{amount // MIB} MiB"
