"""Outcomes → answers. The TypedDicts are the schema that docs/api.md shows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from handler.classifier import Classifier
from handler.errors import ItemError, error_body
from handler.formats import FORMATS
from handler.item import Outcome
from handler.messages import Answer
from handler.options import HEADERS, Options
from handler.parser import Task
from handler.tensors import write_tensors
from handler.thresholds import Decision, decide, rank


class Label(TypedDict):
    name: str
    index: int
    score: float
    threshold: float


class ModelId(TypedDict):
    name: str
    version: str
    sha256: str  # of the weights


class Prediction(TypedDict):
    labels: list[Label]  # those whose score reached the threshold, best first
    top_k: list[Label]  # the k best, whether they reached it or not
    fallback: bool  # no threshold was reached; labels is then empty, or the best one if the model is set so
    scores: NotRequired[dict[str, float]]  # of every label, if all_scores was asked
    model: ModelId


SPEED = ("decode", "precision", "torch_threads", "decode_threads", "tuned")  # settings that describe shows


def speed(classifier: Classifier) -> dict[str, Any]:
    """What its speed, and its scores beyond four decimals, depend on."""
    return {"engine": classifier.engine, **{key: getattr(classifier.settings, key) for key in SPEED}}


@dataclass(frozen=True)
class Responder:
    classifier: Classifier
    model: ModelId

    def answer(self, task: Task, outcomes: Sequence[Outcome | ItemError]) -> Answer:
        """Takes one outcome an image, in the request's order.

        The status is 200 if any image was classified, else that of the first error. KServe v2 has no place for an
        error beside answers, so there one bad image fails its request.
        """
        if task.error is not None:
            return self._refusal(task, task.error, None)
        assert task.options is not None
        errors = [(index, result) for index, result in enumerate(outcomes) if isinstance(result, ItemError)]
        decisions = {
            index: decide(result.scores, task.options.thresholds, self.classifier.settings.fallback)
            for index, result in enumerate(outcomes)
            if not isinstance(result, ItemError)
        }
        if errors and (task.protocol == "v2" or (not decisions and task.protocol == "v1")):
            index, error = errors[0]
            answer = self._refusal(task, error, index)
        elif task.protocol == "v2":
            answer = self._tensors(task, outcomes, decisions)
        else:
            predictions = [
                error_body(result, index)
                if isinstance(result, ItemError)
                else self._prediction(result, decisions[index], task.options)
                for index, result in enumerate(outcomes)
            ]
            content = {"predictions": predictions} if task.many else predictions[0]
            answer = _answer(200, content) if decisions else _answer(errors[0][1].status, content, errors[0][1])
        return replace(answer, decisions=tuple(decisions.values()))

    def describe(self) -> Answer:
        """What TorchServe shows at GET /models/NAME?customized=true."""
        classifier, limits = self.classifier, self.classifier.settings.limits
        return _answer(
            200,
            {
                "model": self.model,
                "architecture": classifier.settings.architecture,
                "labels": [
                    {"name": name, "index": index, "threshold": float(classifier.thresholds[index])}
                    for index, name in enumerate(classifier.labels)
                ],
                "calibration": classifier.calibration.to_dict(classifier.labels),
                "input_shape": classifier.input_shape,
                "formats": list(FORMATS),
                "limits": vars(limits),
                "fallback": classifier.settings.fallback,
                "top_k": min(classifier.settings.top_k, len(classifier.labels)),
                "options": HEADERS,
                "device": str(classifier.model.device),
                "speed": speed(classifier),
                "contents_sha256": classifier.contents_sha256,
                "metadata": classifier.metadata,
            },
        )

    def _refusal(self, task: Task, error: ItemError, index: int | None) -> Answer:
        if task.protocol == "native":
            return _answer(error.status, error_body(error, index), error)
        place = "" if index is None else f" (image {index})"
        return _answer(error.status, {"error": f"{error.code}: {error}{place}"}, error)

    def _prediction(self, outcome: Outcome, decision: Decision, options: Options) -> Prediction:
        scores = outcome.scores
        prediction: Prediction = {
            "labels": [self._label(index, scores, options) for index in decision.labels],
            "top_k": [self._label(index, scores, options) for index in rank(scores, options.top_k)],
            "fallback": decision.fallback,
            "model": self.model,
        }
        if options.all_scores:
            prediction["scores"] = {
                name: float(score) for name, score in zip(self.classifier.labels, scores, strict=True)
            }
        return prediction

    def _label(self, index: int, scores: NDArray[np.float32], options: Options) -> Label:
        return {
            "name": self.classifier.labels[index],
            "index": index,
            "score": float(scores[index]),
            "threshold": float(options.thresholds[index]),
        }

    def _tensors(self, task: Task, outcomes: Sequence[Any], decisions: Mapping[int, Decision]) -> Answer:
        """KServe v2: scores [N, C], fired [N, C], fallback [N] and the names of the C labels, as far as asked for."""
        labels = self.classifier.labels
        fired = np.zeros((len(outcomes), len(labels)), dtype=bool)
        for index, decision in decisions.items():
            fired[index, list(decision.labels)] = True
        tensors: dict[str, NDArray[Any] | Sequence[str]] = {
            "scores": np.stack([outcome.scores for outcome in outcomes]),
            "fired": fired,
            "fallback": np.array([decision.fallback for decision in decisions.values()]),
            "labels": labels,
        }
        head = {"model_name": self.model["name"], "model_version": self.model["version"]}
        if task.id is not None:
            head["id"] = task.id
        body, content_type, headers = write_tensors(head, tensors, task.outputs)
        return Answer(200, body, content_type, headers)


def _answer(status: int, content: Mapping[str, Any], error: ItemError | None = None) -> Answer:
    """`error`: the one that decided the status."""
    body = json.dumps(content, allow_nan=False).encode()
    if error is None:
        return Answer(status, body)
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return Answer(status, body, headers=headers, code=error.code)
