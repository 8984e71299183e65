"""A server of its own, whose workers may die: models with faults to order, and one with a short queue."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from archives import renamed
from faulty import JAVA_MEMORY, QUEUE, RESPONSE_SIZE, WIDE, make_faulty
from samples import PATIENCE, free_ports, wait_for

from scripts.archive.manifest import find_archives
from scripts.server.torchserve import TorchServe


@pytest.fixture(scope="package")
def running(demo_mar: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    store = tmp_path_factory.mktemp("faults")
    make_faulty(
        demo_mar, store / "faulty.mar", "faulty", batchSize=WIDE, maxBatchDelay=1000, responseTimeout=int(PATIENCE)
    )
    # Two requests always share a batch, which leaves as soon as it is full. Two photos take far less than the timeout.
    make_faulty(demo_mar, store / "paired.mar", "paired", batchSize=2, maxBatchDelay=60_000, responseTimeout=60)
    renamed(demo_mar, store / "narrow.mar", "narrow", batchSize=4, maxBatchDelay=1, jobQueueSize=QUEUE)
    server = TorchServe(find_archives(store), store, free_ports(), tmp_path_factory.mktemp("logs"))
    with pytest.MonkeyPatch.context() as patch:  # for this server, not for the tests that share the session
        patch.setenv("TS_MAX_RESPONSE_SIZE", str(RESPONSE_SIZE))
        patch.setenv("JAVA_TOOL_OPTIONS", f"-Xmx{JAVA_MEMORY} -XX:MaxDirectMemorySize={JAVA_MEMORY}")
        server.start()
    try:
        server.wait_ready(PATIENCE)
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(running: TorchServe) -> TorchServe:
    """With all workers READY and able to answer, whatever the test before did."""
    wait_for(lambda: all(running.ready(archive) for archive in running.archives))
    return running
