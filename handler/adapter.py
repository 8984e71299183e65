"""The TorchServe adapter, and the only file that knows `ts`.

torch-model-archiver puts a copy of it at the archive's root, and TorchServe expects exactly one class in it.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import torch
from ts.torch_handler.base_handler import BaseHandler

from handler.classifier import Classifier
from handler.errors import attempt
from handler.requests import Parser, Request
from handler.responses import Answer, Responder

logger = logging.getLogger(__name__)


class MultiLabelHandler(BaseHandler):  # type: ignore[misc]
    """Serves a packaged multi-label classifier. Nothing a request holds makes its methods raise."""

    def initialize(self, context: Any) -> None:
        """Loads, warms up and checks the model; raises LoadError, which TorchServe logs as the worker's last line."""
        started = time.monotonic()
        directory = Path(context.system_properties["model_dir"])
        gpu = context.system_properties.get("gpu_id")
        on_gpu = gpu is not None and torch.cuda.is_available()
        self.device = torch.device(f"cuda:{gpu}" if on_gpu else "cpu")
        classifier = Classifier.load(directory, self.device)
        classifier.warm_up()
        if classifier.settings.self_check:
            classifier.self_check(directory)
        else:
            logger.warning("golden self-check: switched off by handler.self_check in the archive")
        self.classifier = classifier
        self.parser = Parser(classifier.labels, classifier.thresholds, classifier.settings)
        model = context.manifest["model"]
        self.responder = Responder(
            classifier,
            {"name": model["modelName"], "version": model["modelVersion"], "sha256": classifier.weights_sha256},
        )
        self.initialized = True
        seconds = time.monotonic() - started
        logger.info("ready on %s after %.1f s: %d labels", self.device, seconds, len(classifier.labels))

    def preprocess(self, data: Sequence[Mapping[str, Any]]) -> list[tuple[Request, list[Any]]]:
        """Rows → each request with its images as tensors [3, H, W] float32, or their errors."""
        requests = [
            self.parser.parse(row, self.context.get_all_request_header(index)) for index, row in enumerate(data)
        ]
        return [
            (request, [attempt(self.classifier.prepare, payload) for payload in request.payloads])
            for request in requests
        ]

    def inference(self, data: list[tuple[Request, list[Any]]]) -> list[tuple[Request, list[Any]]]:
        """The images of all requests together → each request with its scores [C], or their errors."""
        scores = iter(self.classifier.score([image for _, images in data for image in images]))
        return [(request, [next(scores) for _ in images]) for request, images in data]

    def postprocess(self, data: list[tuple[Request, list[Any]]]) -> list[Answer]:
        return [self.responder.answer(request, outcomes) for request, outcomes in data]

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """One answer a row, each with its own status: an exception would fail every request of the batch."""
        self.context = context
        # Management asks for the description by a row without any input; a client's rows have at least a body.
        if len(data) == 1 and not data[0] and context.get_request_header(0, "describe") == "True":
            answers = [self.responder.describe()]
        else:
            answers = self.postprocess(self.inference(self.preprocess(data)))
        for index, answer in enumerate(answers):
            context.set_response_content_type(index, "application/json")
            context.set_response_status(answer.status, HTTPStatus(answer.status).phrase, index)
            if _came_by_grpc(context.get_all_request_header(index)):
                # Without it any client that calls StreamPredictions takes down the worker and its whole batch.
                context.set_response_header(index, "ts_stream_next", "false")
        return [answer.body for answer in answers]


def _came_by_grpc(headers: Mapping[str, Any]) -> bool:
    """HTTP always brings headers of its own; gRPC only the content types of its fields, as mappings."""
    return not any(isinstance(value, str) for value in headers.values())
