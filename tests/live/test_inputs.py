"""Each form of input, over HTTP to the real server."""

import base64
import subprocess
from typing import Any

import pytest
import requests
from samples import CATS, CHELSEA, COFFEE, PATIENCE, PHOTOS, Send, chelsea

from scripts.predict import main as predict
from scripts.server.torchserve import TorchServe

B64 = base64.b64encode(CHELSEA).decode()
B64_COFFEE = base64.b64encode(COFFEE).decode()


def _names(prediction: dict[str, Any]) -> list[str]:
    return [label["name"] for label in prediction["labels"]]


@pytest.mark.parametrize("content_type", [None, "image/png", "image/jpeg", "application/octet-stream", "x/y"])
def test_raw_bytes(send: Send, content_type: str | None) -> None:
    response = send(data=CHELSEA, headers={"Content-Type": content_type} if content_type else {})
    assert (response.status_code, response.reason) == (200, "OK")
    assert response.headers["content-type"] == "application/json"
    assert _names(response.json()) == CATS


def test_curl_upload(server: TorchServe) -> None:
    """The command that README shows, by curl itself: PUT, with `Expect: 100-continue` and without a content type."""
    url = f"{server.inference}/predictions/cat-breeds"
    done = subprocess.run(["curl", "-sST", str(PHOTOS / "chelsea.png"), url], capture_output=True, check=True)
    assert b'"name": "tiger cat"' in done.stdout


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_formats(send: Send, kind: str) -> None:
    assert set(_names(send(data=chelsea(kind=kind)).json())) == set(CATS)


def test_first_frame_of_a_gif(send: Send) -> None:
    response = send(data=chelsea(kind="GIF"))
    assert response.status_code == 200
    assert "tabby" in _names(response.json())


@pytest.mark.parametrize("field", ["data", "image", "file"])
def test_multipart(send: Send, field: str) -> None:
    response = send(files={field: ("cat.png", CHELSEA, "image/png")})
    assert _names(response.json()) == CATS


def test_multipart_with_several_images_and_options(send: Send) -> None:
    files = {"image1": CHELSEA, "image2": COFFEE, "image3": CHELSEA}
    response = send(files=files, data={"threshold": '{"lynx": 0.2}', "top_k": "1", "all_scores": "true"})
    first, second, third = response.json()["predictions"]
    assert _names(first) == _names(third) == [*CATS, "lynx"]
    assert _names(second) == []
    assert second["fallback"] is True
    assert len(first["top_k"]) == 1
    assert len(first["scores"]) == 13


@pytest.mark.parametrize(
    "body", [{"image": B64}, {"image": f"data:image/png;base64,{B64}"}, {"data": B64}, {"image": {"b64": B64}}]
)
def test_json(send: Send, body: object) -> None:
    assert _names(send(json=body).json()) == CATS


@pytest.mark.parametrize("body", [[B64, B64_COFFEE], {"images": [B64, B64_COFFEE]}, {"image": [B64, B64_COFFEE]}])
def test_json_lists(send: Send, body: object) -> None:
    first, second = send(json=body).json()["predictions"]
    assert (_names(first), _names(second)) == (CATS, [])


def test_options_as_json_and_as_headers(send: Send) -> None:
    by_json = send(json={"image": B64, "threshold": 0.8, "top_k": 2}).json()
    by_header = send(data=CHELSEA, headers={"X-Threshold": "0.8", "x-top-k": "2"}).json()
    for prediction in (by_json, by_header):
        assert _names(prediction) == ["tiger cat", "Egyptian cat"]
        assert [label["threshold"] for label in prediction["labels"]] == [0.8, 0.8]
        assert len(prediction["top_k"]) == 2


def test_kserve_v1(send: Send) -> None:
    response = send("/v1/models/cat-breeds:predict", json={"instances": [{"b64": B64}, {"b64": B64_COFFEE}]})
    assert [_names(prediction) for prediction in response.json()["predictions"]] == [CATS, []]


def test_kserve_v2(send: Send) -> None:
    tensor = {"name": "images", "shape": [2], "datatype": "BYTES", "data": [B64, B64_COFFEE]}
    response = send("/v2/models/cat-breeds/infer", json={"id": "42", "inputs": [tensor]})
    body = response.json()
    outputs = {output["name"]: output for output in body["outputs"]}
    assert (body["id"], body["model_name"], body["model_version"]) == ("42", "cat-breeds", "1.0")
    assert outputs["scores"]["shape"] == [2, 13]
    fired = [outputs["labels"]["data"][index] for index in range(13) if outputs["fired"]["data"][index]]
    assert sorted(fired) == sorted(CATS)
    assert not any(outputs["fired"]["data"][13:])


def test_another_architecture_size_and_labels(send: Send) -> None:
    """The very same code, with the fallback that its archive asks for."""
    body = send("/predictions/vit", data=chelsea()).json()
    assert (body["model"]["name"], body["model"]["version"]) == ("vit", "2.0")
    assert body["fallback"] is True
    assert [body["labels"][0]] == body["top_k"][:1]
    assert len(body["top_k"]) == 5


def test_a_version_in_the_path(send: Send) -> None:
    assert send("/predictions/vit/2.0", data=chelsea()).status_code == 200
    assert send("/predictions/vit/1.0", data=chelsea()).status_code == 404


def test_predict_script(server: TorchServe, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"{server.inference}/predictions/cat-breeds"
    assert predict(["--url", url, str(PHOTOS / "chelsea.png"), str(PHOTOS / "coffee.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.strip().startswith("●")] == ["tiger", "Egyptian", "tabby"]
    assert lines[-1].strip() == "no score reached its threshold"
    assert predict(["--url", url, str(PHOTOS / "README.txt")]) == 1


def test_describe(server: TorchServe) -> None:
    url, asked = f"{server.management}/models/vit", {"customized": "true"}
    [described] = requests.get(url, params=asked, timeout=PATIENCE).json()
    custom = described["customizedMetadata"]
    assert [label["name"] for label in custom["labels"]] == ["red", "green", "blue", "round", "striped"]
    assert custom["input_shape"] == [3, 64, 64]
    assert custom["limits"]["max_images"] == 2
    assert custom["model"]["sha256"] == custom["metadata"]["weights_sha256"]
    assert "JPEG" in custom["formats"]
