"""The hardened container, from outside: classification, what it refuses, and who may run it."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from containers import HARDENED, Call, Container, docker, mounted
from samples import CATS, CHELSEA, COFFEE, PATIENCE, wait_for

LIMIT = 16 * 2**20  # max_request_size
PORT = ("--publish", "127.0.0.1::8080")


@pytest.fixture(scope="module")
def served(images: dict[str, str], store: Path) -> Iterator[dict[str, Container]]:
    """Both flavours, hardened and without a way out to any network but the published port's."""
    options = (*HARDENED, *PORT, *mounted(store), "--health-interval", "1s")
    with (
        Container(images["official"], *options) as official,
        Container(images["slim"], *options) as slim,
    ):
        for container in (official, slim):
            container.wait_until("healthy")
        yield {"official": official, "slim": slim}


@pytest.fixture(params=["official", "slim"])
def container(served: dict[str, Container], request: pytest.FixtureRequest) -> Container:
    return served[request.param]


def test_both_torches_give_the_same_labels(served: dict[str, Container]) -> None:
    for photo in (CHELSEA, COFFEE):
        old, new = (served[flavour].classify(photo).json() for flavour in ("official", "slim"))
        assert [label["name"] for label in old["labels"]] == [label["name"] for label in new["labels"]]
        for one, other in zip(old["top_k"], new["top_k"], strict=True):
            assert one["name"] == other["name"]
            assert one["score"] == pytest.approx(other["score"], abs=0.002)
    assert [label["name"] for label in served["slim"].classify(CHELSEA).json()["labels"]] == CATS


def test_the_root_file_system_is_read_only(container: Container) -> None:
    for place in ("/app/x", "/home/appuser/x", "/app/models/x"):
        assert "ok" not in container.run("bash", "-c", f"touch {place} && echo ok", check=False)


def test_only_inference_is_open(container: Container) -> None:
    """TorchServe's own sockets are files; management and metrics are on the container's loopback."""
    sockets = [line.split() for line in container.run("cat", "/proc/net/tcp", "/proc/net/tcp6").splitlines()]
    listening = [fields[1].split(":") for fields in sockets if fields[3] == "0A"]
    # In hexadecimal, little endian: 127.0.0.1 alone and as an IPv6 address.
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    assert {int(port, 16) for address, port in listening if address not in loopback} == {8080}
    assert {8081, 8082, 7070, 7071} <= {int(port, 16) for _, port in listening}


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (CHELSEA, {"Content-Type": "application/x-www-form-urlencoded"}, 415, "form_encoded"),
        (b"a=b", {"Content-Type": "APPLICATION/X-WWW-FORM-URLENCODED; charset=UTF-8"}, 415, "form_encoded"),
        (b"not an image", {}, 415, "not_an_image"),
    ],
)
def test_bad_input(container: Container, body: bytes, headers: dict[str, str], status: int, code: str) -> None:
    url = f"http://127.0.0.1:{container.port()}/predictions/cat-breeds"
    answer = requests.post(url, data=body, headers=headers, timeout=PATIENCE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/json"


def test_a_body_that_is_announced_too_long(container: Container) -> None:
    """Answered before it is sent, as `Expect: 100-continue` asks; whoever sends it all the same may not see this."""
    head = f"PUT /predictions/cat-breeds HTTP/1.1\r\nHost: cats\r\nContent-Length: {LIMIT + 1}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", container.port()), timeout=PATIENCE) as connection:
        connection.sendall(head.encode())
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"code": "too_many_bytes"' in answer


def test_a_body_of_unknown_length_that_turns_out_too_long(container: Container) -> None:
    """By little: of a longer one the rest is still under way when the connection is closed."""
    url = f"http://127.0.0.1:{container.port()}/predictions/cat-breeds"
    answer = requests.post(url, data=iter([b"\0" * LIMIT, b"\0" * 4096]), timeout=PATIENCE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_bytes")


def test_what_is_not_http(container: Container) -> None:
    with socket.create_connection(("127.0.0.1", container.port()), timeout=PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400")


def test_models_come_from_the_store_alone(container: Container) -> None:
    """Also directories, which TorchServe takes from anywhere; and in whatever spelling its own parser understands."""
    json_body = json.dumps({"url": "/tmp"})
    refused: list[Call] = [
        ("POST", "/models?url=http://127.0.0.1:9/x.mar", {}, None),
        ("POST", "/models?url=file:///tmp/x.mar", {}, None),
        ("POST", "/models?url=/tmp", {}, None),
        ("POST", "/models?url=/tmp/", {}, None),
        ("POST", "/models/?url=/tmp", {}, None),
        ("POST", "/models?url=../models/cat-breeds.mar", {}, None),
        ("POST", "/models?url=torchserve", {}, None),
        ("POST", "/models?%75rl=/tmp&url=cat-breeds.mar", {}, None),
        ("POST", "/models?url%3d/tmp&url=cat-breeds.mar", {}, None),
        ("POST", "/models?;url=/tmp;url=cat-breeds.mar", {}, None),
        ("POST", "/models?model_name=x&url=cat-breeds.mar", {}, None),
        ("POST", "/models", {"Content-Type": "application/json"}, json_body),
        ("POST", "/models?url=cat-breeds.mar", {"Content-Type": "application/json"}, json_body),
        ("POST", "/models?url=cat-breeds.mar", {"content-type": "Application/JSON;charset=utf-8"}, json_body),
        ("POST", "/%6dodels?url=/tmp", {}, None),
        ("POST", "/./models?url=/tmp", {}, None),
        ("POST", "//models?url=/tmp", {}, None),
        ("POST", "/workflows?url=/tmp", {}, None),
    ]
    for call, (status, body) in zip(refused, container.manage(*refused), strict=True):
        assert status in (400, 403), f"{call}: {status} {body}"
    [(status, body)] = container.manage(("GET", "/models", {}, None))
    assert [model["modelName"] for model in json.loads(body)["models"]] == ["cat-breeds"]


def test_registration_scaling_and_what_is_missing(container: Container) -> None:
    taken, gone, scaled, back = container.manage(
        ("POST", "/models?url=cat-breeds.mar&initial_workers=1&synchronous=true", {}, None),
        ("POST", "/models?url=gone.mar", {}, None),
        ("PUT", "/models/cat-breeds?min_worker=2&max_worker=2&synchronous=true", {}, None),
        ("PUT", "/models/cat-breeds?min_worker=1&max_worker=1&synchronous=true", {}, None),
    )
    assert taken[0] == 409, "the version is there already"
    assert gone[0] == 404
    assert (scaled[0], back[0]) == (200, 200)


def test_process_1_and_its_children(container: Container) -> None:
    assert container.run("cat", "/proc/1/comm") == "tini"
    container.run("bash", "-c", "(sleep 0.2 &) ; exit 0")
    states = "sleep 0.5; cat /proc/[0-9]*/stat | awk '{print $3}' | sort -u"
    wait_for(lambda: "Z" not in container.run("bash", "-c", states).split())


@pytest.mark.parametrize("user", ["12345:0", "12345:1000", "0:0"])
def test_any_user_of_those_groups(images: dict[str, str], store: Path, user: str) -> None:
    """Of one flavour: what users may do is in the part of the Dockerfile that both share."""
    options = (*HARDENED, *PORT, *mounted(store), "--user", user, "--health-interval", "1s")
    with Container(images["slim"], *options) as container:
        container.wait_until("healthy")
        assert [label["name"] for label in container.classify(CHELSEA).json()["labels"]] == CATS
        assert "torchserve.log" in container.run("ls", "/app/logs")


def test_no_network_at_run_time(image: str, store: Path) -> None:
    with Container(image, *HARDENED, *mounted(store), "--network", "none", "--health-interval", "1s") as container:
        container.wait_until("healthy")


def test_a_command(image: str) -> None:
    assert docker("run", "--rm", image, "echo", "hello") == "hello"
