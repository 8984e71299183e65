"""Outcomes → response bodies. The TypedDicts are the schema that docs/api.md shows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from handler.classifier import Classifier
from handler.decode import FORMATS
from handler.errors import ItemError, error_body
from handler.options import HEADERS, Options
from handler.requests import Request
from handler.thresholds import Decision, decide, rank

Outcome = NDArray[np.float32] | ItemError


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


OK = "ok"
SPEED = ("decode", "precision", "engine", "torch_threads", "decode_threads", "tuned")  # settings that describe shows


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    code: str = OK  # or that of the error by which the status was chosen
    decisions: tuple[Decision, ...] = ()  # of the images that were classified


@dataclass(frozen=True)
class Responder:
    classifier: Classifier
    model: ModelId

    def answer(self, request: Request, outcomes: Sequence[Outcome]) -> Answer:
        """One outcome an image, in the request's order.

        The status is 200 if any image was classified, else that of the first error. KServe v2 has no place for an
        error beside answers, so there one bad image fails its request.
        """
        if request.error is not None:
            return self._refusal(request, request.error, None)
        assert request.options is not None
        thresholds, fallback = request.options.thresholds, self.classifier.settings.fallback
        decided = [one if isinstance(one, ItemError) else decide(one, thresholds, fallback) for one in outcomes]
        decisions = tuple(one for one in decided if isinstance(one, Decision))
        errors = [(index, one) for index, one in enumerate(outcomes) if isinstance(one, ItemError)]
        if errors and (request.protocol == "v2" or (not decisions and request.protocol == "v1")):
            return replace(self._refusal(request, errors[0][1], errors[0][0]), decisions=decisions)
        if request.protocol == "v2":
            answer = _json(200, self._tensors(request, outcomes, decisions))
        else:
            predictions = [
                error_body(one, index)
                if isinstance(one, ItemError)
                else self._prediction(outcomes[index], one, request.options)
                for index, one in enumerate(decided)
            ]
            status, code = (200, OK) if decisions else (errors[0][1].status, errors[0][1].code)
            answer = _json(status, {"predictions": predictions} if request.many else predictions[0], code)
        return replace(answer, decisions=decisions)

    def describe(self) -> Answer:
        """What TorchServe shows at GET /models/NAME?customized=true."""
        classifier, limits = self.classifier, self.classifier.settings.limits
        return _json(
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
                "formats": FORMATS,
                "limits": vars(limits),
                "fallback": classifier.settings.fallback,
                "top_k": min(classifier.settings.top_k, len(classifier.labels)),
                "options": HEADERS,
                "device": str(classifier.model.device),
                "speed": {key: getattr(classifier.settings, key) for key in SPEED},
                "contents_sha256": classifier.contents_sha256,
                "metadata": classifier.metadata,
            },
        )

    def _refusal(self, request: Request, error: ItemError, index: int | None) -> Answer:
        if request.protocol == "native":
            return _json(error.status, error_body(error, index), error.code)
        place = "" if index is None else f" (image {index})"
        return _json(error.status, {"error": f"{error.code}: {error}{place}"}, error.code)

    def _prediction(self, scores: Any, decision: Decision, options: Options) -> Prediction:
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

    def _tensors(self, request: Request, outcomes: Sequence[Any], decisions: Sequence[Decision]) -> dict[str, Any]:
        """KServe v2: scores [N, C], fired [N, C], fallback [N] and the names of the C labels."""
        labels = self.classifier.labels
        shape = [len(outcomes), len(labels)]
        fired = [index in decision.labels for decision in decisions for index in range(len(labels))]
        outputs = [
            ("scores", "FP32", shape, [float(score) for scores in outcomes for score in scores]),
            ("fired", "BOOL", shape, fired),
            ("fallback", "BOOL", shape[:1], [decision.fallback for decision in decisions]),
            ("labels", "BYTES", shape[1:], list(labels)),
        ]
        return {
            "model_name": self.model["name"],
            "model_version": self.model["version"],
            **({"id": request.id} if request.id is not None else {}),
            "outputs": [
                {"name": name, "datatype": datatype, "shape": shape, "data": data}
                for name, datatype, shape, data in outputs
            ],
        }


def _json(status: int, content: Mapping[str, Any], code: str = OK) -> Answer:
    return Answer(status, json.dumps(content, allow_nan=False).encode(), code)
