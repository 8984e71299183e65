import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from samples import free_ports
from stub import TorchServeStub


@pytest.fixture
def stub() -> Iterator[type[TorchServeStub]]:
    class Stub(TorchServeStub):
        answers: dict[str, Any] = {"/ping": {"status": "Healthy"}, "/models?limit=1000": {"models": []}}
        renewed: list[str] = []

    with ThreadingHTTPServer(("127.0.0.1", free_ports().inference), Stub) as server:
        Stub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Stub
        server.shutdown()
        thread.join()


@pytest.fixture
def bare_directory(tiny_directory: Path) -> Path:
    """An unpacked archive without golden inputs, which says so."""
    config = tiny_directory / "model-config.yaml"
    config.write_text(config.read_text().replace("self_check: true", "self_check: false"))
    (tiny_directory / "golden.json").unlink()
    return tiny_directory
