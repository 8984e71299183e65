"""gRPC Predictions, by the protos that TorchServe's own jar carries."""

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
import ts
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc
from samples import CHELSEA

from scripts.server.torchserve import TorchServe

SERVICE = "org.pytorch.serve.grpc.inference"
Predictions = Callable[[str, Mapping[str, bytes]], Any]


@pytest.fixture(scope="module")
def predictions(server: TorchServe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictions]:
    """Calls InferenceAPIsService/Predictions and returns the body as parsed JSON."""
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
        call = channel.unary_unary(
            f"/{SERVICE}.InferenceAPIsService/Predictions",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        yield lambda model, fields: json.loads(
            call(request(model_name=model, input=dict(fields)), timeout=60).prediction
        )


@pytest.mark.parametrize("field", ["data", "body", "image"])
def test_labels(predictions: Predictions, field: str) -> None:
    body = predictions("cat-breeds", {field: CHELSEA})
    assert [label["name"] for label in body["labels"]] == ["tiger cat", "Egyptian cat", "tabby"]


def test_options(predictions: Predictions) -> None:
    body = predictions("cat-breeds", {"data": CHELSEA, "threshold": b"0.8", "top_k": b"1"})
    assert len(body["labels"]) == 2
    assert len(body["top_k"]) == 1


def test_the_error_stands_in_the_body_as_grpc_has_no_status_of_ours(predictions: Predictions) -> None:
    assert predictions("cat-breeds", {"data": CHELSEA[:9000]})["error"]["code"] == "corrupt_image"
