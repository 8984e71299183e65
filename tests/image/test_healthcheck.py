"""When the container is healthy, and when it is not."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from containers import HARDENED, Container, environment, mounted
from samples import wait_for

from scripts.archive.manifest import MANIFEST

# A start period of 0 would be the image's own, in which no failure counts.
QUICK = ("--health-interval", "1s", "--health-start-period", "1s", "--health-retries", "2")

PING = """
import http.client
connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
connection.request("GET", "/ping")
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


def test_healthy_while_models_answer_and_unhealthy_when_the_workers_are_dead(image: str, store: Path) -> None:
    with Container(image, *HARDENED, *QUICK, *mounted(store)) as container:
        assert container.check_health().startswith("unhealthy: ")  # starting, or loading
        container.wait_until("healthy")
        assert container.check_health() == "healthy"
        assert container.python(PING) == '200 {"status": "Healthy"}'
        container.run("bash", "-c", "rm /tmp/torchserve/models/*/model.safetensors")  # so no worker can load again
        container.kill("model_service_worker")
        container.wait_until("unhealthy")
        container.wait_until_it_says("cat-breeds 1.0: no READY worker")
        wait_for(lambda: container.python(PING) == '503 {"status": "Unhealthy"}')  # haproxy is told once a second


def test_an_empty_store_waits_for_registration(image: str, tmp_path: Path, demo_mar: Path) -> None:
    tmp_path.chmod(0o755)
    with Container(image, *HARDENED, *QUICK, *mounted(tmp_path)) as container:
        container.wait_until("unhealthy")  # which it may be before TorchServe listens
        container.wait_until_it_says("no model is registered")
        assert "no archive in /app/models: waiting for one to be registered" in container.said()
        shutil.copy(demo_mar, tmp_path)
        register = "/models?url=cat-breeds.mar&initial_workers=1&synchronous=true"
        [(status, body)] = container.manage(("POST", register, {}, None))
        assert status == 200, body
        container.wait_until("healthy")
        assert container.manage(("DELETE", "/models/cat-breeds", {}, None))[0][0] == 200
        assert container.check_health() == "unhealthy: no model is registered"


def test_with_tokens_it_reads_and_renews_them(images: dict[str, str], store: Path) -> None:
    """Tokens of three seconds: without renewal the second look would fail."""
    options = environment({"TS_DISABLE_TOKEN_AUTHORIZATION": "false", "TS_TOKEN_EXPIRATION_TIME_MIN": "0.05"})
    with Container(images["slim"], *HARDENED, *QUICK, *options, *mounted(store)) as container:
        container.wait_until("healthy")
        before = container.run("cat", "/tmp/torchserve/key_file.json")
        assert container.manage(("GET", "/models", {}, None))[0][0] == 400
        container.run("sleep", "4")
        assert container.check_health() == "healthy"
        assert json.loads(container.run("cat", "/tmp/torchserve/key_file.json")) != json.loads(before)


def test_an_archive_that_torchserve_can_not_read_stops_the_container(
    images: dict[str, str], tmp_path: Path, demo_mar: Path
) -> None:
    """Where STORE_CHECK says so. Its manifest is in order, what comes after is cut."""
    tmp_path.chmod(0o755)
    shutil.copy(demo_mar, tmp_path)
    with (
        zipfile.ZipFile(demo_mar) as mar,
        zipfile.ZipFile(tmp_path / "second.mar", "w", zipfile.ZIP_DEFLATED) as second,
    ):
        second.writestr(MANIFEST, mar.read(MANIFEST).decode().replace('"1.0"', '"2.0"'))
        second.writestr("model.safetensors", mar.read("model.safetensors"))
    content = bytearray((tmp_path / "second.mar").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = bytes(1000)
    (tmp_path / "second.mar").write_bytes(content)
    strict = environment({"STORE_CHECK": "strict"})
    with Container(images["slim"], *strict, *mounted(tmp_path)) as container:
        assert container.wait() == 1
        assert "ERROR /app/models/second.mar: TorchServe refused it" in container.said()


@pytest.mark.parametrize("content", [b"not an archive", None])
def test_a_wrong_store_stops_the_container_with_the_files_name(
    images: dict[str, str], tmp_path: Path, content: bytes | None
) -> None:
    tmp_path.chmod(0o755 if content else 0o700)
    if content:
        (tmp_path / "broken.mar").write_bytes(content)
    with Container(images["slim"], *mounted(tmp_path)) as container:
        assert container.wait() == 1
        expected = "broken.mar: not an archive" if content else "/app/models: can't be read (Permission denied)"
        assert f"ERROR {expected}" in container.said().replace("/app/models/", "")
