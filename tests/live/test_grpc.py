"""gRPC Predictions, by the protos that TorchServe's own jar carries."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
import ts
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc
from samples import CATS, CHELSEA, PATIENCE

from scripts.server.torchserve import TorchServe

SERVICE = "org.pytorch.serve.grpc.inference"


class Client:
    """Unary and streaming predictions, answered as parsed JSON."""

    def __init__(self, channel: grpc.Channel, request: Any, response: Any) -> None:
        coders = {"request_serializer": request.SerializeToString, "response_deserializer": response.FromString}
        path = f"/{SERVICE}.InferenceAPIsService"
        self._request = request
        self._unary = channel.unary_unary(f"{path}/Predictions", **coders)
        self._stream = channel.unary_stream(f"{path}/StreamPredictions", **coders)

    def predict(self, model: str, fields: Mapping[str, bytes]) -> Any:
        request = self._request(model_name=model, input=dict(fields))
        return json.loads(self._unary(request, timeout=PATIENCE).prediction)

    def stream(self, model: str, fields: Mapping[str, bytes]) -> list[Any]:
        request = self._request(model_name=model, input=dict(fields))
        return [json.loads(each.prediction) for each in self._stream(request, timeout=PATIENCE)]


@pytest.fixture(scope="module")
def client(server: TorchServe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    protos = tmp_path_factory.mktemp("protos")
    with zipfile.ZipFile(Path(ts.__file__).parent / "frontend" / "model-server.jar") as jar:
        jar.extractall(protos, [name for name in jar.namelist() if name.endswith(".proto")])
    compiled = protos / "inference.bin"
    arguments = [f"-I{protos}", f"--descriptor_set_out={compiled}", "--include_imports", "proto/inference.proto"]
    assert protoc.main(["protoc", *arguments]) == 0
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file:
        pool.Add(file)
    request, response = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{SERVICE}.{name}"))
        for name in ("PredictionsRequest", "PredictionResponse")
    )
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{server.ports.grpc_inference}", options) as channel:
        yield Client(channel, request, response)


@pytest.mark.parametrize("field", ["data", "body", "image"])
def test_labels(client: Client, field: str) -> None:
    body = client.predict("cat-breeds", {field: CHELSEA})
    assert [label["name"] for label in body["labels"]] == CATS


def test_options(client: Client) -> None:
    body = client.predict("cat-breeds", {"data": CHELSEA, "threshold": b"0.8", "top_k": b"1"})
    assert len(body["labels"]) == 2
    assert len(body["top_k"]) == 1


def test_the_error_stands_in_the_body_as_grpc_has_no_status_of_ours(client: Client) -> None:
    assert client.predict("cat-breeds", {"data": CHELSEA[:9000]})["error"]["code"] == "corrupt_image"


def test_streaming_gives_one_message_and_harms_nobody(client: Client) -> None:
    """TorchServe's worker dies, with all of its batch, when a handler leaves the end of a stream unsaid."""
    [body] = client.stream("cat-breeds", {"data": CHELSEA})
    assert len(body["labels"]) == 3
    [refused] = client.stream("cat-breeds", {"data": b"no image"})
    assert refused["error"]["code"] == "not_an_image"
    assert len(client.predict("cat-breeds", {"data": CHELSEA})["labels"]) == 3
