"""The TorchServe adapter, and the only file that knows `ts`.

torch-model-archiver puts a copy of it at the archive's root, and TorchServe expects exactly one class in it.
"""

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import torch
from ts.torch_handler.base_handler import BaseHandler

from handler.classifier import Classifier, Prepared
from handler.cores import use_threads
from handler.errors import ItemError, attempt
from handler.job import Job, queued_seconds
from handler.log import FIELDS, log_as_json
from handler.metrics import Metrics
from handler.requests import Parser
from handler.responses import Answer, Responder

logger = logging.getLogger("handler.adapter")  # the file is imported from the archive's root, too
RETRY_AFTER = "5"  # seconds, as image/haproxy.cfg says while the server starts


class MultiLabelHandler(BaseHandler):  # type: ignore[misc]
    """Serves a packaged multi-label classifier. Nothing a request holds makes its methods raise."""

    def initialize(self, context: Any) -> None:
        """Loads, warms up and checks the model; raises LoadError, which TorchServe logs as the worker's last line."""
        started = time.monotonic()
        model = context.manifest["model"]
        name, version = model["modelName"], model["modelVersion"]
        log_as_json("handler", {"model": name, "version": version})
        directory = Path(context.system_properties["model_dir"])
        gpu = context.system_properties.get("gpu_id")
        on_gpu = gpu is not None and torch.cuda.is_available()
        self.device = torch.device(f"cuda:{gpu}" if on_gpu else "cpu")
        classifier = Classifier.load(directory, self.device)
        use_threads(classifier.torch_threads)
        classifier.warm_up()
        if classifier.settings.self_check:
            classifier.self_check(directory)
        else:
            logger.warning("golden self-check: switched off by handler.self_check in the archive")
        self.classifier = classifier
        self.parser = Parser(classifier.labels, classifier.thresholds, classifier.settings)
        self.responder = Responder(classifier, {"name": name, "version": version, "sha256": classifier.weights_sha256})
        self.metrics = Metrics(name, version, classifier.labels)
        _print(self.metrics.first_lines())
        self.initialized = True
        seconds = time.monotonic() - started
        logger.info("ready on %s after %.1f s: %d labels", self.device, seconds, len(classifier.labels))

    def preprocess(self, data: Sequence[Mapping[str, Any]]) -> list[Job]:
        """Rows → jobs, each with its images prepared, or their errors."""
        jobs = [self._job(index, row) for index, row in enumerate(data)]
        prepared = iter(
            self.classifier.side_by_side(
                self._prepare, [(job, payload) for job in jobs for payload in job.request.payloads]
            )
        )
        for job in jobs:
            job.images = [next(prepared) for _ in job.request.payloads]
        return jobs

    def _job(self, index: int, row: Mapping[str, Any]) -> Job:
        headers = self.context.get_all_request_header(index)
        request = self.parser.parse(row, headers)
        return Job(self.context.get_request_id(index), request, queued_seconds(headers, time.time()))

    def _prepare(self, item: tuple[Job, bytes | ItemError]) -> Prepared | ItemError:
        """In a thread of the pool."""
        job, payload = item
        pixels = attempt(job.timed("decode", self.classifier.decode), payload)
        return attempt(job.timed("preprocess", self.classifier.preprocess), pixels)

    def inference(self, data: list[Job]) -> list[Job]:
        """The images of all jobs together → each job with its scores [C], or their errors."""
        scores = iter(self.classifier.score([image for job in data for image in job.images]))
        for job in data:
            job.outcomes = [next(scores) for _ in job.images]
            job.images = []
        return data

    def postprocess(self, data: list[Job]) -> list[Answer]:
        answers = []
        for job in data:
            job.answer = job.timed("postprocess", self.responder.answer)(job.request, job.outcomes)
            answers.append(job.answer)
        return answers

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """One answer a row, each with its own status: an exception would fail every request of the batch."""
        self.context = context
        # Management asks for the description by a row without any input; a client's rows have at least a body.
        if len(data) == 1 and not data[0] and context.get_request_header(0, "describe") == "True":
            answers = [self.responder.describe()]
        else:
            jobs = self.preprocess(data)
            started = time.perf_counter()
            self.inference(jobs)
            inference = time.perf_counter() - started
            answers = self.postprocess(jobs)
            self._report(jobs, inference)
        for index, answer in enumerate(answers):
            context.set_response_content_type(index, "application/json")
            context.set_response_status(answer.status, HTTPStatus(answer.status).phrase, index)
            if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
                context.set_response_header(index, "Retry-After", RETRY_AFTER)
            if _came_by_grpc(context.get_all_request_header(index)):
                # Without it any client that calls StreamPredictions takes down the worker and its whole batch.
                context.set_response_header(index, "ts_stream_next", "false")
        return [answer.body for answer in answers]

    def _report(self, jobs: Sequence[Job], inference: float) -> None:
        """A line a request for the log, and what the metrics want."""
        for job in jobs:
            fields = job.log_fields(len(jobs), inference)
            logger.log(logging.INFO if fields["status"] < 500 else logging.ERROR, "request", extra={FIELDS: fields})
        _print(self.metrics.lines(jobs, inference))


def _print(lines: Sequence[str]) -> None:
    """To TorchServe's front end, all at once: each write is a call to the system."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _came_by_grpc(headers: Mapping[str, Any]) -> bool:
    """HTTP always brings headers of its own; gRPC only the content types of its fields, as mappings."""
    return not any(isinstance(value, str) for value in headers.values())
