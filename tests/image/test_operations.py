"""What the one on call leans on: logs, metrics, /ready, versions, and what happens when things go wrong."""

import json
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from archives import renamed, with_wrong_golden
from containers import HARDENED, Container, environment, mounted
from prometheus_client.parser import text_string_to_metric_families
from samples import CATS, CHELSEA, PATIENCE, wait_for

from scripts.build_archive import build_archive
from scripts.build_demo import demo_recipe

PUBLISHED = ("--publish", "127.0.0.1::8080")
QUICK = ("--health-interval", "1s")
# What Java and Docker's engine print in a form of their own.
FOREIGN = ("WARNING: sun.reflect", "nvidia-smi", "Model server started")


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory, demo_checkpoint: Path, demo_mar: Path) -> Path:
    store = tmp_path_factory.mktemp("versions")
    store.chmod(0o755)
    shutil.copy(demo_mar, store)
    return store


@pytest.fixture(scope="module")
def container(images: dict[str, str], versions: Path) -> Iterator[Container]:
    """Hardened, and the metrics can be scraped from outside."""
    metrics = ("--publish", "127.0.0.1::8082", *environment({"TS_METRICS_ADDRESS": "http://0.0.0.0:8082"}))
    with Container(images["slim"], *HARDENED, *QUICK, *PUBLISHED, *metrics, *mounted(versions)) as container:
        container.wait_until("healthy")
        yield container


def _ready(container: Container) -> int:
    return requests.get(f"http://127.0.0.1:{container.port()}/ready", timeout=PATIENCE).status_code


def test_the_log_is_json_and_a_request_is_one_line(container: Container) -> None:
    answer = container.classify(CHELSEA)
    assert answer.status_code == 200
    request_id = answer.headers["x-request-id"]
    wait_for(lambda: request_id in container.logs())
    lines = container.logs().splitlines()
    strange = [line for line in lines if not line.startswith(("{", *FOREIGN))]
    assert strange == []
    events = [json.loads(line) for line in lines if line.startswith("{")]
    [event] = [event for event in events if event.get("request_id") == request_id]
    assert (event["message"], event["status"], event["model"]) == ("request", 200, "cat-breeds")
    assert event["seconds"]["queue"] > 0, "haproxy says when it came"
    assert {"entrypoint", "ModelServer", "handler.adapter"} <= {event["logger"] for event in events}


def test_metrics_can_be_scraped_and_a_client_can_not_backdate_itself(container: Container) -> None:
    def queue(name: str) -> float:
        text = requests.get(f"http://127.0.0.1:{container.port(8082)}/metrics", timeout=PATIENCE).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(sample.value for sample in samples if sample.name == f"classifier_queue_seconds_{name}")

    url, before = f"http://127.0.0.1:{container.port()}/predictions/cat-breeds", queue("count")
    assert requests.post(url, data=CHELSEA, headers={"X-Request-Start": "1"}, timeout=PATIENCE).status_code == 200
    wait_for(lambda: queue("count") == before + 1)
    assert queue("sum") < 60


def test_a_version_is_registered_and_promoted_from_inside(
    container: Container, versions: Path, demo_checkpoint: Path
) -> None:
    build_archive(replace(demo_recipe(demo_checkpoint), version="2.0"), versions / "second.mar")
    manage = ("python", "scripts/manage_models.py")
    said = container.run(*manage, "register", "models/second.mar", "--promote")
    assert "registered beside 1.0, which serves, READY after" in said
    assert "golden     3 inputs answered" in said
    assert container.classify(CHELSEA).json()["model"]["version"] == "2.0"
    assert "serves     1.0 in place of 2.0" in container.run(*manage, "rollback", "cat-breeds")
    assert container.run("python", "scripts/health.py", "deep", "--timeout", "60") == "healthy"
    assert "removed    cat-breeds 2.0" in container.run(*manage, "unregister", "cat-breeds", "2.0")
    assert container.classify(CHELSEA).json()["model"]["version"] == "1.0"


def test_a_form_that_torchserve_could_not_read_is_the_clients_fault(container: Container) -> None:
    url = f"http://127.0.0.1:{container.port()}/predictions/cat-breeds"
    answer = requests.post(url, files={":": b"x"}, timeout=PATIENCE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_option")


def test_slow_clients_are_let_go_and_hold_nobody_up(container: Container) -> None:
    slow = [socket.create_connection(("127.0.0.1", container.port()), timeout=PATIENCE) for _ in range(50)]
    try:
        for each in slow:
            each.sendall(b"POST /predictions/cat-breeds HTTP/1.1\r\nHost: x\r\n")
        assert [label["name"] for label in container.classify(CHELSEA).json()["labels"]] == CATS
        assert b" 408 " in slow[0].recv(100)  # after the 10 s of timeout http-request
    finally:
        for each in slow:
            each.close()


def test_ready_is_true_when_every_model_can_answer_and_no_longer(container: Container) -> None:
    """The last of those that share the container: it ends with its worker dead."""
    assert _ready(container) == 200
    container.run("bash", "-c", "rm /tmp/torchserve/models/*/model.safetensors")  # so no worker can load again
    container.kill("model_service_worker")
    wait_for(lambda: _ready(container) == 503)
    assert "ERROR not ready any more: cat-breeds 1.0: no READY worker" in container.said()
    ping = requests.get(f"http://127.0.0.1:{container.port()}/ping", timeout=PATIENCE)
    assert (ping.status_code, ping.json()) == (503, {"status": "Unhealthy"})


def test_a_full_disk_for_logs_stops_nothing(images: dict[str, str], store: Path) -> None:
    logs = ("--tmpfs", "/app/logs:size=64k,uid=1000,gid=1000")
    with Container(images["slim"], *HARDENED, *QUICK, *PUBLISHED, *logs, *mounted(store)) as container:
        container.wait_until("healthy")
        container.run("bash", "-c", "cat /dev/zero > /app/logs/filler || true")
        for _ in range(20):
            assert [label["name"] for label in container.classify(CHELSEA).json()["labels"]] == CATS
        assert container.check_health() == "healthy"
        assert container.logs().count('"request_id": ') == 20, "the console has them all"


def test_a_full_queue_says_when_to_ask_again(images: dict[str, str], store: Path) -> None:
    """With 1 GB there is room for 12 bodies of this size at a time; one more waits."""
    small = ("--memory", "1g", "--memory-swap", "1g")
    options = (*HARDENED, *QUICK, *PUBLISHED, *environment({"TS_JOB_QUEUE_SIZE": "1"}), *small, *mounted(store))
    with Container(images["slim"], *options) as container:
        container.wait_until("healthy")
        assert "WARNING clash: cat-breeds 1.0: batchSize 8 is over the queue of 1" in container.said()
        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda _: container.classify(CHELSEA), range(64)))
        refused = [answer for answer in answers if answer.status_code == 503]
        assert refused
        assert {answer.headers["Retry-After"] for answer in refused} == {"5"}
        assert {answer.json()["error"]["code"] for answer in refused} == {"overloaded"}
        assert {answer.status_code for answer in answers} == {200, 503}


def test_a_request_that_torchserve_forgets_is_answered_in_time(
    images: dict[str, str], tmp_path: Path, demo_checkpoint: Path
) -> None:
    """A worker that dies while its batch fills takes these requests with it: TorchServe never answers them."""
    tmp_path.chmod(0o755)
    slow = {"batchSize": 8, "maxBatchDelay": 20_000}
    build_archive(replace(demo_recipe(demo_checkpoint), torchserve=slow), tmp_path / "cat-breeds.mar")
    options = (*HARDENED, *QUICK, *PUBLISHED, *environment({"REQUEST_TIMEOUT": "5"}), *mounted(tmp_path))
    with Container(images["slim"], *options) as container:
        container.wait_until("healthy")
        with socket.create_connection(("127.0.0.1", container.port()), timeout=PATIENCE) as client:
            head = f"POST /predictions/cat-breeds HTTP/1.1\r\nHost: x\r\nContent-Length: {len(CHELSEA)}\r\n\r\n"
            client.sendall(head.encode() + CHELSEA)
            container.kill("model_service_worker")
            answer = client.recv(1000)
        assert b" 504 " in answer
        assert b'"code": "timeout"' in answer


def test_a_worker_that_hangs_and_a_java_that_hangs(images: dict[str, str], store: Path) -> None:
    """The worker is found by /ping and replaced by TorchServe; a Java that says nothing more ends the container."""
    # With one worker: a second that is stopped too is found when it gets a request.
    settings = {"REQUEST_TIMEOUT": "80", "TS_DEFAULT_WORKERS_PER_MODEL": "1"}
    options = (*HARDENED, *QUICK, *PUBLISHED, *environment(settings), *mounted(store))
    with Container(images["slim"], *options) as container, ThreadPoolExecutor(1) as pool:
        container.wait_until("healthy")
        container.run("pkill", "-STOP", "-f", "model_service_worker")
        hanging = pool.submit(container.classify, CHELSEA)
        wait_for(lambda: "ERROR not ready any more: no answer for" in container.said())
        assert _ready(container) == 503
        assert (hanging.result().status_code, hanging.result().json()["error"]["code"]) == (503, "worker_died")
        wait_for(lambda: _ready(container) == 200)
        assert container.classify(CHELSEA).status_code == 200
        container.run("pkill", "-STOP", "-f", "org.pytorch.serve.ModelServer")
        assert container.wait() == 124
        assert "ERROR no answer for" in container.said()


def test_what_was_promoted_and_scaled_outlives_the_container_and_a_broken_file_stops_nothing(
    images: dict[str, str], tmp_path: Path, demo_mar: Path
) -> None:
    """The newest version does not load, another file is half an archive, and the oldest version was promoted."""
    store, state = tmp_path / "store", tmp_path / "state"
    store.mkdir(mode=0o755)
    state.mkdir()
    state.chmod(0o777)
    tmp_path.chmod(0o755)
    shutil.copy(demo_mar, store / "cat-breeds-1.mar")
    renamed(demo_mar, store / "cat-breeds-2.mar", "cat-breeds", "2.0")
    (store / "half.mar").write_bytes(demo_mar.read_bytes()[:1_000_000])
    newest = renamed(demo_mar, tmp_path / "newest.mar", "cat-breeds", "3.0")
    with_wrong_golden(newest, store / "cat-breeds-3.mar", 0.5)
    options = (*HARDENED, *QUICK, *PUBLISHED, *mounted(store), "--volume", f"{state}:/app/state")
    manage = ("python", "scripts/manage_models.py")
    with Container(images["slim"], *options) as container:
        container.wait_until("healthy")
        said = container.said()
        assert "ERROR /app/models/half.mar: not an archive" in said
        wait_for(lambda: "so 2.0 serves in its place" in container.said() or "so it serves in its" in container.said())
        [serving] = [line for line in container.run(*manage, "list").splitlines() if line.startswith("●")]
        assert "2.0" in serving, "even if 1.0 was READY sooner"
        assert "broken: /app/models/half.mar: not an archive" in container.run(*manage, "list")
        promoted = container.run(*manage, "promote", "cat-breeds", "1.0")
        assert "kept       for the next start" in promoted
        container.run(*manage, "scale", "cat-breeds", "1.0", "2")
    with Container(images["slim"], *options) as container:
        container.wait_until("healthy")
        assert container.classify(CHELSEA).status_code == 200
        wait_for(lambda: "1.0      2/2" in container.run(*manage, "list"))
        [serving] = [line for line in container.run(*manage, "list").splitlines() if line.startswith("●")]
        assert "1.0" in serving
        assert "INFO cat-breeds 1.0: 2 workers, as was last asked for" in container.said()
        ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8082/metrics/store').read().decode())"
        wait_for(lambda: "classifier_store_broken_files 1" in container.python(ask).splitlines())
