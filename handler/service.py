"""From requests to answers, whatever server took them: the one entry for every adapter."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import torch

from handler.classifier import Classifier, Prepared, Share
from handler.cores import use_threads
from handler.encoding import MAX_BODY
from handler.errors import ItemError
from handler.item import Item
from handler.job import Batch, Job, queued_seconds
from handler.log import about
from handler.messages import Answer, Request
from handler.meter import Allowance
from handler.parser import Parser
from handler.responses import Responder
from handler.watchdog import Watchdog

logger = logging.getLogger(__name__)


class Service:
    """A packaged classifier that answers requests."""

    def __init__(
        self,
        classifier: Classifier,
        name: str,
        version: str,
        report: Callable[[Batch], None],
        watchdog: Watchdog,
        max_body: int = MAX_BODY,
    ) -> None:
        """report: called with each batch, after its answers are made. watchdog: ends
        the process if a batch hangs. max_body: bytes that a compressed body may become."""
        self.classifier = classifier
        self._parser = Parser(classifier.labels, classifier.options, classifier.settings.limits, max_body)
        self._responder = Responder(classifier, {"name": name, "version": version, "sha256": classifier.weights_sha256})
        self._report = report
        self._watchdog = watchdog

    @classmethod
    def load(
        cls,
        directory: Path,
        device: torch.device,
        share: Share,
        name: str,
        version: str,
        report: Callable[[Batch], None],
        server_limit: float,
        max_body: int = MAX_BODY,
    ) -> Self:
        """Loads, warms up and checks an unpacked archive. Raises LoadError.

        server_limit: seconds after which the server replaces a process that does not answer.
        max_body: bytes that a compressed body may become.
        """
        classifier = Classifier.load(directory, device, share)
        use_threads(classifier.torch_threads)
        pass_seconds = classifier.warm_up()
        decode_seconds = classifier.settings.limits.max_decode_seconds
        watchdog = Watchdog(pass_seconds, classifier.batch_size, decode_seconds, server_limit)
        if classifier.settings.self_check:
            classifier.self_check(directory)
        else:
            logger.warning("golden self-check: switched off by handler.self_check in the archive")
        logger.info(watchdog)
        return cls(classifier, name, version, report, watchdog, max_body)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """One answer a request, in their order; the images of all of them are classified together.

        Nothing that a request holds makes it raise.
        """
        jobs = [self._job(request) for request in requests if request.route != "describe"]
        answers = iter(self._answer(jobs) if jobs else ())
        return [self._responder.describe() if request.route == "describe" else next(answers) for request in requests]

    def _job(self, request: Request) -> Job:
        with about(request.id):
            queued = queued_seconds(request.headers, time.time())
            allowance = Allowance(self.classifier.settings.limits.max_decode_seconds)
            return Job(request, self._parser.parse(request), queued, allowance)

    def _answer(self, jobs: Sequence[Job]) -> list[Answer]:
        pairs = [(job, payload) for job in jobs for payload in job.task.payloads]
        with self._watchdog.preparing(len(jobs)):
            items = self.classifier.side_by_side(self._prepare, pairs)
        started = time.perf_counter()
        with about(*(job.request.id for job in jobs)), self._watchdog.scoring(len(items)):
            outcomes = iter(self.classifier.score(items))
        inference = time.perf_counter() - started
        answers = []
        for job in jobs:
            job.outcomes = [next(outcomes) for _ in job.task.payloads]
            with about(job.request.id):
                job.answer = job.timed("postprocess", self._responder.answer)(job.task, job.outcomes)
            answers.append(job.answer)
        self._report(Batch(jobs, inference))
        return answers

    def _prepare(self, pair: tuple[Job, bytes | ItemError]) -> Item[Prepared] | ItemError:
        """In a thread of the classifier's pool."""
        job, payload = pair
        assert job.task.options is not None
        with about(job.request.id):
            return self.classifier.prepare(payload, job.task.options, job.timed, job.allowance)
