"""Each row of the error table in docs/api.md, over HTTP to the real server."""

import base64
import json
import re
import socket
from http.client import HTTPResponse
from typing import Any

import pytest
from PIL import Image
from samples import CHELSEA, PATIENCE, Send, chelsea, encode, noise

from bench.costly import with_scans
from handler import errors
from scripts.paths import ROOT
from scripts.server.torchserve import TorchServe

B64 = base64.b64encode(CHELSEA).decode()
SMALL = encode(noise())
B64_SMALL = base64.b64encode(SMALL).decode()
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

# path of the model, what is sent, status, code, index
ROWS: list[tuple[str, dict[str, Any], int, str, int | None]] = [
    ("cat-breeds", {"data": b""}, 400, "no_payload", None),
    ("cat-breeds", {"files": {"top_k": (None, "3")}}, 400, "no_payload", None),
    ("cat-breeds", {"json": {}}, 400, "no_payload", None),
    ("cat-breeds", {"data": b"{", "headers": JSON}, 400, "bad_json", None),
    ("cat-breeds", {"data": b"[" * 100_000, "headers": JSON}, 400, "bad_json", None),
    ("cat-breeds", {"json": "text"}, 400, "bad_request", None),
    ("cat-breeds", {"json": {"image": 5}}, 400, "bad_request", 0),
    ("cat-breeds", {"json": {"image": "?"}}, 400, "bad_base64", 0),
    ("cat-breeds", {"json": {"image": "data:image/png,x"}}, 400, "bad_base64", 0),
    ("cat-breeds", {"json": {"image": B64, "treshold": 0.5}}, 400, "bad_option", None),
    ("cat-breeds", {"data": CHELSEA, "headers": {"X-Threshold": "2"}}, 400, "bad_option", None),
    ("cat-breeds", {"data": CHELSEA, "headers": {"X-Top-K": "14"}}, 400, "bad_option", None),
    ("cat-breeds", {"files": {"photo": b"words"}}, 400, "bad_option", None),
    ("vit", {"data": chelsea(1000, "PNG")}, 413, "too_many_bytes", 0),
    ("vit", {"json": {"image": base64.b64encode(bytes(150_000)).decode()}}, 413, "too_many_bytes", 0),
    ("vit", {"data": encode(noise(4, 4)[:1, :1].repeat(1001, 0).repeat(1000, 1))}, 413, "too_many_pixels", 0),
    ("vit", {"json": [B64_SMALL] * 3}, 413, "too_many_images", None),
    ("cat-breeds", {"data": b"hello"}, 415, "not_an_image", 0),
    ("cat-breeds", {"data": "words", "headers": {"Content-Type": "text/plain"}}, 415, "not_an_image", 0),
    ("cat-breeds", {"data": b"\xff\xd8\xff\xe0 any bytes", "headers": FORM}, 415, "form_encoded", None),
    ("cat-breeds", {"data": CHELSEA, "headers": {"Content-Encoding": "br"}}, 415, "unsupported_encoding", None),
    ("cat-breeds", {"data": encode(Image.new("F", (8, 8)), "TIFF")}, 415, "unsupported_image", 0),
    ("cat-breeds", {"data": encode(Image.new("RGB", (8, 8)), "AVIF")}, 415, "unsupported_image", 0),
    ("cat-breeds", {"data": CHELSEA[:9000]}, 422, "corrupt_image", 0),
    ("cat-breeds", {"data": encode(noise(1, 300))}, 422, "extreme_aspect_ratio", 0),
    ("cat-breeds", {"data": with_scans(200, (64, 64))}, 422, "too_costly", 0),
]


@pytest.mark.parametrize(("model", "sent", "status", "code", "index"), ROWS)
def test_row(send: Send, model: str, sent: dict[str, Any], status: int, code: str, index: int | None) -> None:
    response = send(f"/predictions/{model}", **sent)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["index"]) == (status, code, index)
    assert set(error) == {"code", "message", "index"}
    assert response.headers["content-type"] == "application/json"
    assert re.fullmatch(r"[A-Za-z -]+", response.reason)


def test_explanations(send: Send) -> None:
    response = send("/explanations/cat-breeds", data=CHELSEA)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "explain_unsupported")


def test_every_code_is_tried_and_documented() -> None:
    codes = {each.code for each in vars(errors).values() if isinstance(each, type) and hasattr(each, "code")}
    tried = {row[3] for row in ROWS} | {"explain_unsupported"}
    # The server's own faults, which tests/faults has, and a fault of the archive, which tests/handler has.
    assert tried == codes - {"internal_error", "out_of_memory", "unsupported_size"}
    documented = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", (ROOT / "docs" / "api.md").read_text(), re.M))
    statuses = {each.code: str(each.status) for each in vars(errors).values() if hasattr(each, "code")}
    assert documented == statuses


def test_several_images_of_which_one_is_bad(send: Send) -> None:
    response = send(files={"image1": CHELSEA, "image2": b"bad", "image3": CHELSEA})
    first, second, third = response.json()["predictions"]
    assert response.status_code == 200
    assert second == {"error": {"code": "not_an_image", "message": errors.NotAnImage.default, "index": 1}}
    assert len(first["labels"]) == len(third["labels"]) == 3


def test_several_images_all_bad(send: Send) -> None:
    response = send(files={"image1": CHELSEA[:9000], "image2": b"bad"})
    assert response.status_code == 422
    assert [one["error"]["code"] for one in response.json()["predictions"]] == ["corrupt_image", "not_an_image"]


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/v1/models/cat-breeds:predict", {"instances": [{"b64": "?"}]}, 400, r"bad_base64: .* \(image 0\)"),
        ("/v1/models/cat-breeds:predict", {"instances": 5}, 400, "bad_request: instances: expected a list."),
        ("/v2/models/cat-breeds/infer", {"inputs": []}, 400, "bad_request: inputs: expected one tensor"),
    ],
)
def test_kserve_errors(send: Send, path: str, body: object, status: int, error: str) -> None:
    response = send(path, json=body)
    assert response.status_code == status
    assert re.match(error, response.json()["error"])


PART = b'--B\r\nContent-Disposition: form-data; name="%b"; filename="x"\r\nContent-Type: %b\r\n\r\n%b\r\n--B--\r\n'


@pytest.mark.parametrize(
    ("header", "body", "code"),
    [
        (b"X-Odd: \xff\xfe", b"hello", "not_an_image"),
        (b"Content-Type: \xff", b"hello", "not_an_image"),
        (b"ts_stream_next: true", b"hello", "not_an_image"),
        (
            b"Content-Type: multipart/form-data; boundary=B",
            PART % (b"\xff\xed\xa0\x80", b"image/png", b"x"),
            "bad_option",
        ),
        (b"Content-Type: multipart/form-data; boundary=B", PART % (b"a\0b", b"image/png", b"x"), "bad_option"),
        (b"Content-Type: multipart/form-data; boundary=B", PART % (b"data", b"\xff/\xfe", b"x"), "not_an_image"),
        (b"Content-Type: multipart/form-data; boundary=B", PART % (b"data", b"text/plain", b"\xff"), "not_an_image"),
        (b"Content-Type: multipart/form-data; boundary=B", PART % (b"data", b"application/json", b"{"), "not_an_image"),
        (b"Content-Type: application/json", b'{"top_k": %b}' % (b"1" * 100_000), "bad_json"),
        (b"Content-Type: application/json", b'{"\\ud800": 1, "image": "QUJD"}', "bad_option"),
    ],
)
def test_odd_bytes_on_the_wire(server: TorchServe, header: bytes, body: bytes, code: str) -> None:
    """What no well-meant client library sends. That no worker died of it is asserted where the server stops."""
    head = b"POST /predictions/cat-breeds HTTP/1.1\r\nHost: x\r\n%b\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.ports.inference), timeout=PATIENCE) as connection:
        connection.sendall(head % (header, len(body)) + body)
        answer = HTTPResponse(connection)
        answer.begin()
        error = json.loads(answer.read())["error"]
        answer.close()
    assert 400 <= answer.status < 500
    assert re.fullmatch("[A-Za-z ]+", answer.reason)
    assert error["code"] == code


def test_unknown_model(send: Send) -> None:
    assert send("/predictions/dogs", data=CHELSEA).status_code == 404


@pytest.mark.parametrize("text", ['"><script>', "[METRICS]x\r\n", "é\u202e", "%0d%0aSet-Cookie: a=b", "\x00"])
def test_client_text_stays_out_of_status_headers_and_logs(server: TorchServe, send: Send, text: str) -> None:
    marker = f"{text}-zebra"
    response = send(json={"image": B64_SMALL, marker: 1, "threshold": {marker: 0.5}})
    assert (response.status_code, response.reason) == (400, "Bad Request")
    response = send(files={marker.encode("ascii", "ignore").decode() or "x": (marker, b"words")})
    assert response.status_code == 400
    headers = json.dumps(dict(response.headers))
    assert "zebra" not in headers
    assert "zebra" not in server.console.read_text()
