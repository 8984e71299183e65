"""How the container ends: without losing a request, with the right code, or before it opens what must stay shut."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from containers import HARDENED, Container, environment, mounted
from restless import CLIENTS, Restless
from samples import PATIENCE, free_ports, wait_for

from scripts.server.ports import Ports


def _on_host(ports: Ports) -> tuple[str, ...]:
    """On this machine's own network: Docker's proxy for published ports takes connections that nobody serves."""
    settings = {
        "TS_INFERENCE_ADDRESS": f"http://127.0.0.1:{ports.inference}",
        "TS_MANAGEMENT_ADDRESS": f"http://127.0.0.1:{ports.management}",
        "TS_METRICS_ADDRESS": f"http://127.0.0.1:{ports.metrics}",
        "TS_GRPC_INFERENCE_PORT": str(ports.grpc_inference),
        "TS_GRPC_MANAGEMENT_PORT": str(ports.grpc_management),
    }
    return ("--network", "host", *environment(settings))


def test_sigterm_under_load_loses_no_request(image: str, store: Path) -> None:
    """Eight clients ask without pause while it stops: each request is answered, or was never let in."""
    ports = free_ports()
    url = f"http://127.0.0.1:{ports.inference}/predictions/cat-breeds"
    options = (*HARDENED, *_on_host(ports), *mounted(store), "--health-interval", "1s")
    with Container(image, *options) as container:
        container.wait_until("healthy")
        with Restless(url) as load:
            wait_for(lambda: len(load.outcomes) >= 5 * CLIENTS)
            container.signal("TERM")
            assert container.wait() == 0
        assert set(load.outcomes) == {"200", "refused"}, load.outcomes
        assert load.outcomes.count("refused") == CLIENTS
        said = container.said()
        assert "INFO stopping: no new requests" in said
        assert "had no answer" not in said
    assert ports.taken() == []


def test_an_idle_connection_does_not_keep_it(images: dict[str, str]) -> None:
    with Container(images["slim"], "--publish", "127.0.0.1::8080") as container:
        with requests.Session() as session:

            def answers() -> bool:
                with contextlib.suppress(requests.ConnectionError):
                    url = f"http://127.0.0.1:{container.port()}/api-description"
                    return session.get(url, timeout=PATIENCE).status_code == 200
                return False

            wait_for(answers)
            container.signal("TERM")
            assert container.wait() == 0
        assert "had no answer" not in container.said()


def test_a_grace_that_is_over_ends_it_all_the_same(images: dict[str, str], store: Path) -> None:
    """A client that never finishes its request must not keep the container."""
    ports = free_ports()
    options = (*_on_host(ports), "--env", "STOP_GRACE=6", *mounted(store))
    with Container(images["slim"], *options, "--health-interval", "1s") as container:
        container.wait_until("healthy")

        def forever() -> Iterator[bytes]:
            for _ in range(100):
                yield b"x"
                sending.set()
                time.sleep(0.5)

        def ask() -> None:
            url = f"http://127.0.0.1:{ports.inference}/predictions/cat-breeds"
            try:
                requests.post(url, data=forever(), timeout=PATIENCE)
            except requests.ConnectionError:
                outcomes.append("cut off")

        outcomes: list[str] = []
        sending = threading.Event()
        thread = threading.Thread(target=ask)
        thread.start()
        assert sending.wait(PATIENCE)
        container.signal("TERM")
        assert container.wait() == 0
        thread.join()
        assert "some had no answer within STOP_GRACE=6 s" in container.said()
        assert outcomes == ["cut off"]


@pytest.mark.parametrize(("process", "code"), [("org.pytorch.serve.ModelServer", 137), ("haproxy", 1)])
def test_it_ends_when_a_process_it_needs_dies(images: dict[str, str], process: str, code: int) -> None:
    with Container(images["slim"]) as container:
        wait_for(lambda: "loading" in container.said() or "waiting for one" in container.said())
        container.kill(process)
        assert container.wait() == code
        assert "ended by itself with code -9" in container.said()


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        (
            {"TS_MANAGEMENT_ADDRESS": "http://0.0.0.0:8081"},
            "management_address=http://0.0.0.0:8081 and disable_token_authorization=true clash",
        ),
        (
            {"TS_GRPC_MANAGEMENT_ADDRESS": "0.0.0.0", "TS_DISABLE_TOKEN_AUTHORIZATION": "false"},
            "grpc_management_address=0.0.0.0, expected 127.0.0.1",
        ),
        ({"TS_INFERENCE_ADDRESS": "https://0.0.0.0:8443"}, "inference_address: https://0.0.0.0:8443, expected http://"),
        ({"STOP_GRACE": "soon"}, "STOP_GRACE: soon, expected whole seconds"),
    ],
)
def test_it_refuses_to_start(images: dict[str, str], settings: dict[str, str], refusal: str) -> None:
    with Container(images["slim"], *environment(settings)) as container:
        assert container.wait() == 1
        assert f"ERROR {refusal}" in container.said()
        assert "ModelServer" not in container.logs()


def test_open_management_with_tokens_starts(images: dict[str, str], store: Path) -> None:
    settings = {"TS_MANAGEMENT_ADDRESS": "http://0.0.0.0:8081", "TS_DISABLE_TOKEN_AUTHORIZATION": "false"}
    options = (*HARDENED, *environment(settings), "--publish", "127.0.0.1::8081", *mounted(store))
    with Container(images["slim"], *options, "--health-interval", "1s") as container:
        container.wait_until("healthy")
        url = f"http://127.0.0.1:{container.port(8081)}/models"
        assert requests.get(url, timeout=PATIENCE).status_code == 400
        assert requests.get(url, headers={"Authorization": "Bearer wrong"}, timeout=PATIENCE).status_code == 400
