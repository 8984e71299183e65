"""A server of its own, whose workers may die: one model with faults to order, one with a short queue."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from faulty import JAVA_MEMORY, QUEUE, RESPONSE_SIZE, WIDE, build_faulty
from samples import free_ports, wait_for

from scripts.archive.manifest import find_archives
from scripts.build_archive import build_archive
from scripts.build_demo import demo_recipe
from scripts.server.torchserve import TorchServe


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, demo_checkpoint: Path) -> Path:
    store = tmp_path_factory.mktemp("faults")
    demo = demo_recipe(demo_checkpoint)
    wide = {"batchSize": WIDE, "maxBatchDelay": 1000, "responseTimeout": 15}
    build_faulty(replace(demo, name="faulty", torchserve=wide), store / "faulty.mar")
    narrow = {"batchSize": 4, "maxBatchDelay": 1, "jobQueueSize": QUEUE}
    build_archive(replace(demo, name="narrow", torchserve=narrow), store / "narrow.mar")
    return store


@pytest.fixture(scope="session")
def running(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    server = TorchServe(find_archives(store), store, free_ports(), tmp_path_factory.mktemp("logs"))
    with pytest.MonkeyPatch.context() as patch:  # for this server, not for the tests that share the session
        patch.setenv("TS_MAX_RESPONSE_SIZE", str(RESPONSE_SIZE))
        patch.setenv("JAVA_TOOL_OPTIONS", f"-Xmx{JAVA_MEMORY} -XX:MaxDirectMemorySize={JAVA_MEMORY}")
        server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(running: TorchServe) -> TorchServe:
    """With all workers READY and able to answer, whatever the test before did."""
    wait_for(lambda: all(running.ready(archive) for archive in running.archives))
    return running
