"""Clients that others wrote, against what `make serve` runs: their bytes, and (slow) the clients themselves."""

import base64
import gzip
import json
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
import requests
from samples import CATS, CHELSEA, PATIENCE, PHOTOS, free_ports
from serving import served

from scripts.paths import ROOT

B64 = base64.b64encode(CHELSEA).decode()
ELEMENT = len(CHELSEA).to_bytes(4, "little") + CHELSEA
INPUT: dict[str, Any] = {"name": "images", "shape": [1], "datatype": "BYTES", "data": [B64]}
BINARY: dict[str, Any] = {**INPUT, "parameters": {"binary_data_size": len(ELEMENT)}}
del BINARY["data"]
INFER, PREDICT, NATIVE = "/v2/models/cat-breeds/infer", "/v1/models/cat-breeds:predict", "/predictions/cat-breeds"


@pytest.fixture(scope="module")
def url(demo_mar: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    ports = free_ports()
    with served(demo_mar, ports, tmp_path_factory.mktemp("logs")):
        yield f"http://127.0.0.1:{ports.inference}"


def _post(url: str, body: bytes, headers: dict[str, str] | None = None) -> requests.Response:
    """requests adds no Content-Type to bytes."""
    return requests.post(url, data=body, headers=headers, timeout=PATIENCE)


@pytest.mark.parametrize("kind", [None, "text/plain", "Application/JSON; charset=utf-8", "application/vnd.api+json"])
@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        (NATIVE, {"image": B64}, "labels"),
        (PREDICT, {"instances": [{"b64": B64}]}, "predictions"),
        (INFER, {"inputs": [INPUT]}, "outputs"),
    ],
)
def test_json_is_json(url: str, path: str, body: object, key: str, kind: str | None) -> None:
    answer = _post(url + path, json.dumps(body).encode(), {} if kind is None else {"Content-Type": kind})
    assert (answer.status_code, key in answer.json()) == (200, True)


def test_every_image_of_a_form_is_answered(url: str) -> None:
    files: list[tuple[str, Any]] = [
        ("photos", CHELSEA),
        ("photos", CHELSEA),
        ("other", CHELSEA),
        ("top_k", (None, "1")),
    ]
    predictions = requests.post(url + NATIVE, files=files, timeout=PATIENCE).json()["predictions"]
    assert [[label["name"] for label in each["labels"]] for each in predictions] == [CATS] * 3
    assert [len(each["top_k"]) for each in predictions] == [1] * 3


def test_curls_and_browsers_forms(url: str) -> None:
    photo = str(PHOTOS / "chelsea.png")
    command = ["curl", "-sS", "-F", f"image=@{photo}", "-F", f"image=@{photo}", url + NATIVE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert len(json.loads(done.stdout)["predictions"]) == 2


def test_invocations_read_their_query(url: str) -> None:
    asked = {"model_name": "cat-breeds", "top_k": "1"}
    for sent in ({"data": CHELSEA}, {"json": {"image": B64}}, {"files": {"x": CHELSEA}}):
        answer = requests.post(f"{url}/invocations", params=asked, timeout=PATIENCE, **sent)
        assert [label["name"] for label in answer.json()["top_k"]] == CATS[:1]


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
@pytest.mark.parametrize("path", [NATIVE, INFER])
def test_compressed_bodies(url: str, path: str, encoding: str, compress: Any) -> None:
    body = CHELSEA if path == NATIVE else json.dumps({"inputs": [INPUT]}).encode()
    assert _post(url + path, compress(body), {"Content-Encoding": encoding}).status_code == 200
    bomb = compress(bytes(100 * 2**20))
    assert len(bomb) < 2**18
    assert _post(url + path, bomb, {"Content-Encoding": encoding}).status_code == 413


def _infer(url: str, content: dict[str, Any], tensors: bytes = b"") -> requests.Response:
    text = json.dumps(content).encode()
    return _post(url, text + tensors, {"Inference-Header-Content-Length": str(len(text))})


def test_tensors_come_and_go_as_bytes(url: str) -> None:
    """As tritonclient sends them by default."""
    content = {"id": "7", "inputs": [BINARY], "parameters": {"binary_data_output": True}}
    for path in (INFER, "/v2/models/cat-breeds/versions/1.0/infer"):
        answer = _infer(url + path, content, ELEMENT)
        length = int(answer.headers["Inference-Header-Content-Length"])
        described = json.loads(answer.content[:length])
        sizes = {each["name"]: each["parameters"]["binary_data_size"] for each in described["outputs"]}
        assert (answer.status_code, described["id"]) == (200, "7")
        assert (sizes["scores"], sizes["fired"], sizes["fallback"]) == (13 * 4, 13, 1)
        assert len(answer.content) == length + sum(sizes.values())
    asked = [{"name": "labels"}]
    [labels] = _infer(url + INFER, {"inputs": [BINARY], "outputs": asked}, ELEMENT).json()["outputs"]
    assert labels["data"][:2] == ["tabby", "tiger cat"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (INFER, b'{"inputs": [', 400),
        (INFER, b"", 400),
        (INFER, b'"AAA"', 400),
        (INFER, json.dumps({"inputs": [INPUT], "outputs": [{"name": "nope"}]}).encode(), 400),
        (INFER, json.dumps({"inputs": [INPUT], "parameters": {"top_k": -1}}).encode(), 400),
        (INFER, json.dumps({"inputs": [{**INPUT, "data": ["AAAA"]}]}).encode(), 415),
        ("/v2/models/dogs/infer", b"{}", 404),
        ("/v2/models/cat-breeds/versions/9/infer", b"{}", 404),
        ("/v1/models/dogs:predict", b"{}", 404),
        (PREDICT, b"{", 400),
        (PREDICT, json.dumps({"inputs": [INPUT]}).encode(), 400),
        ("/v2/repository/index", b"{}", 405),
        ("/v2/models/cat-breeds/../infer", b"{}", 400),
    ],
)
def test_every_error_of_kserve_is_text(url: str, path: str, body: bytes, status: int) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        client.sendall(head.encode() + body)
        answer = HTTPResponse(client)
        answer.begin()
        error = json.loads(answer.read())
    assert answer.status == status
    assert [*error] == ["error"]
    assert isinstance(error["error"], str)


@pytest.mark.parametrize("path", ["/v2/models/dogs", "/v2/models/dogs/ready", "/v1/models/dogs", "/v2/nope", INFER])
def test_what_is_not_there_is_said_in_text(url: str, path: str) -> None:
    answer = requests.get(url + path, timeout=PATIENCE)
    assert answer.status_code == (405 if path == INFER else 404)
    assert isinstance(answer.json()["error"], str)


def test_metadata(url: str) -> None:
    def get(path: str) -> Any:
        answer = requests.get(url + path, timeout=PATIENCE)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        return answer.json()

    assert (get("/v2/health/live"), get("/v2/health/ready")) == ({"live": True}, {"ready": True})
    assert get("/v2") == {"name": "torchserve", "version": "0.12.0", "extensions": ["binary_tensor_data"]}
    assert get("/v1/models") == {"models": ["cat-breeds"]}
    ready = {"name": "cat-breeds", "ready": True}
    assert get("/v1/models/cat-breeds") == get("/v2/models/cat-breeds/ready") == ready
    assert get("/v2/models/cat-breeds/versions/1.0/ready/") == ready
    described = get("/v2/models/cat-breeds")
    assert described == get("/v2/models/cat-breeds/versions/1.0")
    assert (described["name"], described["versions"]) == ("cat-breeds", ["1.0"])
    came = _post(url + INFER, json.dumps({"inputs": [INPUT]}).encode()).json()["outputs"]
    assert [(each["name"], each["datatype"]) for each in came] == [
        (each["name"], each["datatype"]) for each in described["outputs"]
    ]
    assert [[1 if side == -1 else side for side in each["shape"]] for each in described["outputs"]] == [
        each["shape"] for each in came
    ]


def _run_client(name: str, script: str, *arguments: str) -> Any:
    """In an environment of its own, from its lock."""
    environment = ROOT / "build" / "clients" / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    lock, uv = ROOT / "tests" / "clients" / f"{name}.lock", [sys.executable, "-m", "uv"]
    python = environment / "bin" / "python"
    install = [
        *uv,
        "pip",
        "install",
        "--no-config",
        "--quiet",
        "--python",
        str(python),
        "--require-hashes",
        "-r",
        str(lock),
    ]
    for command in (
        [*uv, "venv", "--no-config", "--quiet", "--clear", "--python", sys.executable, str(environment)],
        install,
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode != 0:
            pytest.skip(f"{name} can't be installed here: {done.stderr.strip().splitlines()[-1]}")
    program = [
        str(python),
        str(ROOT / "tests" / "clients" / script),
        *arguments,
        "cat-breeds",
        str(PHOTOS / "chelsea.png"),
    ]
    done = subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _names(outputs: dict[str, list[str]]) -> list[str]:
    return [name for name, fired in zip(outputs["labels"], outputs["fired"], strict=True) if fired == "True"]


@pytest.mark.slow
def test_tritonclient(url: str) -> None:
    said = _run_client("triton", "triton.py", url.removeprefix("http://"))
    assert (said["live"], said["ready"], said["model ready"]) == (True, True, [True, True, False])
    assert said["model"] == said["version"]
    answers = said["answers"]
    assert _names(answers.pop("options")) == []
    assert [*answers["outputs"]] == ["labels", "fired"]
    assert {name: sorted(_names(outputs)) for name, outputs in answers.items()} == dict.fromkeys(answers, sorted(CATS))
    assert said["id"] == "7"
    assert {name: error.split(":")[0] for name, error in said["refused"].items()} == {
        "model": "[404] not_found",
        "version": "[404] not_found",
        "output": "[400] bad_request",
        "image": "[415] not_an_image",
        "option": "[400] bad_option",
    }


@pytest.mark.slow
def test_kserves_rest_client(url: str) -> None:
    said = _run_client("kserve", "kserve_rest.py", url)
    assert (said["live"], said["ready"]) == ([True, True], True)
    assert (said["model ready"], said["other ready"]) == ([True, True], False)
    for answer in said["v1"]:
        assert [label["name"] for label in answer["predictions"][0]["labels"]] == CATS
    assert [sorted(_names(outputs)) for outputs in said["v2"].values()] == [sorted(CATS)] * 3
