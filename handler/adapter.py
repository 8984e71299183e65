"""The TorchServe adapter, the only file that imports `ts`. It turns rows into requests, answers into bodies and
statuses, and events into log lines and metric lines.

torch-model-archiver puts a copy of it at the archive's root. TorchServe expects exactly one class in that file.
"""

import logging
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast, get_args

import torch

from handler.classifier import Share
from handler.encoding import MAX_BODY, MAX_BODY_VARIABLE
from handler.hidden import hidden
from handler.job import Batch
from handler.log import FIELDS, log_as_json
from handler.memory import DECODING
from handler.messages import Answer, Protocol, Request, Route
from handler.metric_lines import metric_line
from handler.metrics import MODEL, Sample, batch_samples, first_samples
from handler.server_settings import DEFAULT_WORKERS, read_server_settings
from handler.service import Service

with hidden("openvino"):  # it would be imported for torch.compile, which takes seconds
    from ts.torch_handler.base_handler import BaseHandler

logger = logging.getLogger("handler.adapter")  # the file is imported from the archive's root, too


class MultiLabelHandler(BaseHandler):  # type: ignore[misc]
    """Serves a packaged multi-label classifier. An exception would fail every request of a batch, so none is raised."""

    def initialize(self, context: Any) -> None:
        """Raises LoadError, which TorchServe logs as the worker's last line."""
        started = time.monotonic()
        model = context.manifest["model"]
        name, version = model["modelName"], model["modelVersion"]
        log_as_json("handler", {"model": name, "version": version})
        directory = Path(context.system_properties["model_dir"])
        gpu = context.system_properties.get("gpu_id")
        device = torch.device(f"cuda:{gpu}" if gpu is not None and torch.cuda.is_available() else "cpu")
        server = read_server_settings(directory)
        decoding = os.environ.get(DECODING)
        workers = server.minWorkers or int(os.environ.get(DEFAULT_WORKERS) or 1)
        share = Share(server.batchSize, workers, None if decoding is None else int(decoding))
        limit = server.responseTimeout
        max_body = int(os.environ.get(MAX_BODY_VARIABLE) or MAX_BODY)
        self.service = Service.load(directory, device, share, name, version, self._report, limit, max_body)
        self.labels = self.service.classifier.labels
        self.dimensions = dict(zip(MODEL, (name, version), strict=True))
        self._print(first_samples(self.labels))
        self.initialized = True
        logger.info("ready on %s after %.1f s: %d labels", device, time.monotonic() - started, len(self.labels))

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """One row in, one body out."""
        self.context = context
        return self.postprocess(self.inference(self.preprocess(data)))

    def preprocess(self, data: Sequence[Mapping[str, Any]]) -> list[Request]:
        """TorchServe's rows → requests."""
        context = self.context
        # Management asks for the description by a single row without any input; a client's rows have at least a body.
        describes = len(data) == 1 and not data[0] and context.get_request_header(0, "describe") == "True"
        headers = [context.get_all_request_header(index) for index in range(len(data))]
        ids = [context.get_request_id(index) for index in range(len(data))]
        return [_request(*each, describes) for each in zip(ids, data, headers, strict=True)]

    def inference(self, data: list[Request]) -> list[Answer]:
        """Requests → answers."""
        return self.service.answer(data)

    def postprocess(self, data: list[Answer]) -> list[bytes]:
        """Answers → bodies. Statuses and headers go into TorchServe's context."""
        for index, answer in enumerate(data):
            self.context.set_response_status(answer.status, HTTPStatus(answer.status).phrase, index)
            self.context.set_response_content_type(index, answer.content_type)
            for name, value in answer.headers.items():
                self.context.set_response_header(index, name, value)
            if _came_by_grpc(self.context.get_all_request_header(index)):
                # Without it a client that calls StreamPredictions takes down the worker and its whole batch.
                self.context.set_response_header(index, "ts_stream_next", "false")
        return [answer.body for answer in data]

    def _report(self, batch: Batch) -> None:
        for job in batch.jobs:
            fields = batch.log_fields(job)
            logger.log(logging.INFO if fields["status"] < 500 else logging.ERROR, "request", extra={FIELDS: fields})
        self._print(batch_samples(batch, self.labels))

    def _print(self, samples: Iterable[Sample]) -> None:
        """The front end reads metrics from the worker's output. They go out in one write: each is a system call."""
        sys.stdout.write("".join(metric_line(sample, self.dimensions) for sample in samples))
        sys.stdout.flush()


def _request(request_id: str, row: Mapping[str, Any], headers: Mapping[str, Any], describes: bool) -> Request:
    """Form fields stand in the row, and as mappings among the headers, which have the client's case.

    So does the query of /invocations, whose model_name is TorchServe's own.
    """
    route: Route = "describe" if describes else "explain" if headers.get("explain") == "True" else "predict"
    plain = {name.lower(): value for name, value in headers.items() if isinstance(value, str)}
    body = row.get("body")
    fields = tuple((name, value) for name, value in row.items() if name not in ("body", "model_name"))
    return Request(request_id, route, plain, fields, body, _protocol(plain, body))


def _protocol(headers: Mapping[str, str], body: object) -> Protocol:
    """haproxy says it. TorchServe alone adds `explain` on KServe's routes and on its own, and `url_path` on these."""
    if (said := headers.get("x-protocol")) in get_args(Protocol):
        return cast(Protocol, said)
    if "explain" not in headers or "url_path" in headers:
        return "native"
    return "v1" if isinstance(body, dict) and "instances" in body else "v2"


def _came_by_grpc(headers: Mapping[str, Any]) -> bool:
    """HTTP always brings headers of its own; gRPC only the content types of its fields, as mappings."""
    return not any(isinstance(value, str) for value in headers.values())
