"""The adapter with TorchServe's own Context, without its server."""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from samples import CHELSEA, COFFEE, chelsea
from ts.context import Context, RequestProcessor
from ts.service import Service
from ts.utils.util import list_classes_from_module

from handler import adapter
from handler.adapter import MultiLabelHandler
from handler.errors import LoadError
from handler.log import log_as_json
from handler.messages import Request


def _context(directory: Path) -> Any:
    manifest = json.loads((directory / "MAR-INF" / "MANIFEST.json").read_text())
    return Context(manifest["model"]["modelName"], str(directory), manifest, 8, None, "0.12.0")


@pytest.fixture(scope="module", autouse=True)
def logger() -> Iterator[logging.Logger]:
    """The handler's, put back as it was: `initialize` sets it up for the whole process."""
    logger = logging.getLogger("handler")
    before = logger.handlers, logger.level, logger.propagate
    yield logger
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture(scope="module")
def handler(demo_directory: Path) -> MultiLabelHandler:
    handler = MultiLabelHandler()
    handler.initialize(_context(demo_directory))
    return handler


def _handle(
    handler: MultiLabelHandler, directory: Path, rows: list[dict[str, Any]], headers: dict[int, dict[str, Any]]
) -> tuple[list[Any], list[tuple[int, str]]]:
    context = _context(directory)
    context.request_processor = [RequestProcessor(headers.get(index, {})) for index in range(len(rows))]
    context.request_ids = {index: f"id-{index}" for index in range(len(rows))}
    bodies = handler.handle(rows, context)
    assert all(context.get_response_content_type(index) == "application/json" for index in range(len(rows)))
    return [json.loads(body) for body in bodies], [context.get_response_status(index) for index in range(len(rows))]


def test_torchserve_finds_one_class() -> None:
    assert list_classes_from_module(adapter) == [MultiLabelHandler]


def test_torchserve_calls_it_with_rows_of_this_shape() -> None:
    parameters = [{"name": "body", "contentType": "", "value": bytearray(b"x")}]
    batch = [{"requestId": b"1", "headers": [{"name": b"A", "value": b"b"}], "parameters": parameters}]
    headers, rows, _ = Service.retrieve_data_for_inference(batch)
    assert rows == [{"body": bytearray(b"x")}]
    assert headers[0].get_request_properties() == {"body": {"content-type": ""}, "A": "b"}


def test_batch_of_32_with_poisoned_items(handler: MultiLabelHandler, demo_directory: Path) -> None:
    rows: list[dict[str, Any]] = [{"body": bytearray(chelsea() if index % 2 else COFFEE)} for index in range(32)]
    poison: dict[int, tuple[dict[str, Any], int, str]] = {
        0: ({"body": b"no image"}, 415, "not_an_image"),
        3: ({"body": CHELSEA[:9000]}, 422, "corrupt_image"),
        9: ({"body": b""}, 400, "no_payload"),
        17: ({"body": {"image": "?"}}, 400, "bad_base64"),
        31: ({"data": CHELSEA, "top_k": b"many"}, 400, "bad_option"),
    }
    for index, (row, _, _) in poison.items():
        rows[index] = row
    bodies, statuses = _handle(handler, demo_directory, rows, {})
    for index, (body, (status, phrase)) in enumerate(zip(bodies, statuses, strict=True)):
        if index in poison:
            assert (status, body["error"]["code"]) == poison[index][1:]
            assert phrase.isascii()
            assert "\n" not in phrase
        else:
            assert (status, phrase) == (200, "OK")
            assert len(body["labels"]) == (3 if index % 2 else 0)


def test_several_images_of_several_requests_come_back_to_their_own(
    handler: MultiLabelHandler, demo_directory: Path
) -> None:
    rows: list[dict[str, Any]] = [
        {"image1": CHELSEA, "image2": COFFEE, "image3": b"bad"},
        {"body": COFFEE},
        {"body": {"instances": []}},
        {"image1": COFFEE, "image2": CHELSEA},
    ]
    bodies, statuses = _handle(handler, demo_directory, rows, {})
    assert [status for status, _ in statuses] == [200, 200, 400, 200]
    assert [len(one.get("labels", "e")) for one in bodies[0]["predictions"]] == [3, 0, 1]
    assert bodies[1]["labels"] == []
    assert [len(one["labels"]) for one in bodies[3]["predictions"]] == [0, 3]


@pytest.mark.parametrize("header", ["describe", "Describe", "explain", "DESCRIBE"])
def test_a_clients_header_breaks_nobodys_request(handler: MultiLabelHandler, demo_directory: Path, header: str) -> None:
    bodies, statuses = _handle(
        handler, demo_directory, [{"body": bytearray(CHELSEA)}] * 3, {0: {header: "True", "url_path": ""}}
    )
    assert [status for status, _ in statuses[1:]] == [200, 200]
    assert [len(body["labels"]) for body in bodies[1:]] == [3, 3]
    assert "labels" in bodies[0] or bodies[0]["error"]["code"] == "explain_unsupported"


def test_the_end_of_a_stream_is_said_to_grpc_alone(handler: MultiLabelHandler, demo_directory: Path) -> None:
    context = _context(demo_directory)
    by_grpc, by_http = {"data": {"content-type": ""}}, {"body": {"content-type": ""}, "Host": "x"}
    context.request_processor = [RequestProcessor(headers) for headers in (by_grpc, by_http)]
    handler.handle([{"data": COFFEE}, {"body": COFFEE}], context)
    sent = [context.get_response_headers(index).get("ts_stream_next") for index in range(2)]
    assert sent == ["false", None]


def test_rows_become_requests(handler: MultiLabelHandler, demo_directory: Path) -> None:
    """Form fields stand among TorchServe's headers as mappings: none of them is taken for a header."""
    form = {"x-top-k": {"content-type": "text/plain"}, "explain": {"content-type": None}, "X-Threshold": "0.3"}
    handler.context = _context(demo_directory)
    handler.context.request_processor = [RequestProcessor(form), RequestProcessor({"explain": "True", "url_path": ""})]
    handler.context.request_ids = {0: "a", 1: "b"}
    first, second = handler.preprocess([{"data": COFFEE, "top_k": b"1"}, {"body": COFFEE}])
    assert first == Request("a", "predict", {"x-threshold": "0.3"}, (("data", COFFEE), ("top_k", b"1")))
    assert second == Request("b", "explain", {"explain": "True", "url_path": ""}, body=COFFEE)


@pytest.mark.parametrize(
    ("headers", "body", "protocol"),
    [
        ({"X-Protocol": "v1", "explain": "False", "url_path": ""}, b"{}", "v1"),
        ({"X-Protocol": "native", "explain": "False"}, {"inputs": []}, "native"),
        ({"X-Protocol": "v3"}, b"", "native"),
        ({"explain": "False"}, {"instances": []}, "v1"),
        ({"explain": "False"}, b"{", "v2"),
        ({"explain": "False", "url_path": ""}, {"instances": []}, "native"),
    ],
)
def test_the_protocol_is_the_routes(
    handler: MultiLabelHandler, demo_directory: Path, headers: dict[str, str], body: object, protocol: str
) -> None:
    handler.context = _context(demo_directory)
    handler.context.request_processor = [RequestProcessor(headers)]
    handler.context.request_ids = {0: "a"}
    [request] = handler.preprocess([{"body": body, "model_name": "cats", "top_k": "1"}])
    assert (request.protocol, request.fields) == (protocol, (("top_k", "1"),))


def test_describe_is_a_row_without_any_input(handler: MultiLabelHandler, demo_directory: Path) -> None:
    [described], _ = _handle(handler, demo_directory, [{}], {0: {"describe": "True"}})
    assert described["architecture"] == "tf_efficientnet_lite0"
    [refused], [(status, _)] = _handle(handler, demo_directory, [{"body": b""}], {0: {"describe": "True"}})
    assert (status, refused["error"]["code"]) == (400, "no_payload")


def test_a_model_whose_golden_scores_differ_does_not_initialize(tiny_directory: Path) -> None:
    golden = tiny_directory / "golden.json"
    golden.write_text(golden.read_text().replace("0.", "0.9"))
    with pytest.raises(LoadError, match="golden self-check failed"):
        MultiLabelHandler().initialize(_context(tiny_directory))


def test_self_check_can_be_switched_off_but_not_silently(
    tiny_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_directory / "golden.json").unlink()
    with pytest.raises(LoadError, match=r"golden.json: missing"):
        MultiLabelHandler().initialize(_context(tiny_directory))
    config = tiny_directory / "model-config.yaml"
    config.write_text(config.read_text().replace("self_check: true", "self_check: false"))
    MultiLabelHandler().initialize(_context(tiny_directory))
    warnings = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"WARNING"' in line]
    assert "switched off" in warnings[0]["message"]


def test_each_request_is_one_line_in_the_log_without_anything_the_client_wrote(
    handler: MultiLabelHandler, demo_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_as_json("handler", {"model": "cat-breeds", "version": "1.0"})  # writes to what pytest captures now
    client = 'secret"\n[METRICS]client'
    rows: list[dict[str, Any]] = [
        {"image1": CHELSEA, "image2": client.encode()},
        {"body": {"image": "?", client: client}},
    ]
    headers = {0: {"Authorization": client, "X-Request-Start": str(int(time.time() * 1000) - 2000), "A": client}}
    _handle(handler, demo_directory, rows, headers)
    out = capsys.readouterr().out
    assert "secret" not in out
    first, second = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert {name: first[name] for name in ("model", "version", "request_id", "status", "code", "images", "batch")} == {
        **{"model": "cat-breeds", "version": "1.0", "request_id": "id-0", "status": 200, "code": "ok"},
        **{"images": 2, "batch": 2},
    }
    assert first["bytes"] == len(CHELSEA) + len(client)
    assert set(first["seconds"]) == {"queue", "decode", "preprocess", "inference", "postprocess"}
    assert 2 <= first["seconds"]["queue"] < 60
    assert (second["status"], second["code"], second["level"]) == (400, "bad_option", "INFO")
    assert "queue" not in second["seconds"]
    metrics = [line for line in out.splitlines() if line.startswith("[METRICS]")]
    assert len(metrics) + 2 == len(out.splitlines())


def test_what_has_no_memory_is_a_503_that_says_when_to_ask_again(
    handler: MultiLabelHandler, demo_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(images: object) -> None:
        raise MemoryError

    monkeypatch.setattr(handler.service.classifier.model, "scores", exhausted)
    context = _context(demo_directory)
    context.request_processor = [RequestProcessor({}), RequestProcessor({})]
    context.request_ids = {0: "a", 1: "b"}
    bodies = [json.loads(body) for body in handler.handle([{"body": CHELSEA}, {"body": b"no image"}], context)]
    assert [context.get_response_status(index)[0] for index in range(2)] == [503, 415]
    assert bodies[0]["error"]["code"] == "out_of_memory"
    assert [context.get_response_headers(index).get("Retry-After") for index in range(2)] == ["5", None]
