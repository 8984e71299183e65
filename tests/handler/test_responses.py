import dataclasses
import json
from typing import Any, get_type_hints

import numpy as np
import pytest
from numpy.typing import NDArray

from handler import responses
from handler.classifier import Classifier
from handler.errors import BadOption, CorruptImage, ItemError, NotAnImage
from handler.item import Outcome
from handler.messages import Answer
from handler.options import Options
from handler.parser import Task
from handler.responses import Label, ModelId, Prediction, Responder
from handler.tensors import OUTPUTS
from handler.thresholds import Decision

MODEL: ModelId = {"name": "demo", "version": "1.0", "sha256": "0" * 64}
SCORES: NDArray[np.float32] = np.linspace(0.9, 0.1, 13).astype(np.float32)
OUTCOME = Outcome(SCORES)


@pytest.fixture
def responder(demo: Classifier) -> Responder:
    return Responder(demo, MODEL)


def _options(threshold: float = 0.5, top_k: int = 2, all_scores: bool = False) -> Options:
    return Options(np.full(13, threshold), top_k, all_scores)


def _task(protocol: Any = "native", many: bool = False, **options: Any) -> Task:
    outputs = tuple((name, False) for name in OUTPUTS)
    return Task(protocol, (b"x",), many, _options(**options), "7" if protocol == "v2" else None, outputs)


def _body(answer: Answer) -> Any:
    return json.loads(answer.body)


def test_schema_is_the_typed_dict(responder: Responder) -> None:
    body = _body(responder.answer(_task(all_scores=True), [OUTCOME]))
    assert set(body) == set(get_type_hints(Prediction))
    assert set(body["labels"][0]) == set(body["top_k"][0]) == set(get_type_hints(Label))
    assert body["model"] == MODEL
    assert set(_body(responder.answer(_task(), [OUTCOME]))) == set(Prediction.__required_keys__)


def test_prediction(responder: Responder) -> None:
    body = _body(responder.answer(_task(threshold=0.8), [OUTCOME]))
    assert [label["name"] for label in body["labels"]] == ["tabby", "tiger cat"]
    assert body["labels"][0] == {"name": "tabby", "index": 0, "score": pytest.approx(0.9), "threshold": 0.8}
    assert [label["index"] for label in body["top_k"]] == [0, 1]
    assert body["fallback"] is False


@pytest.mark.parametrize(("fallback", "labels"), [("none", []), ("best_label", ["tabby"])])
def test_fallback(demo: Classifier, fallback: Any, labels: list[str]) -> None:
    settings = dataclasses.replace(demo.settings, fallback=fallback)
    responder = Responder(dataclasses.replace(demo, settings=settings), MODEL)
    body = _body(responder.answer(_task(threshold=0.95), [OUTCOME]))
    assert [label["name"] for label in body["labels"]] == labels
    assert body["fallback"] is True
    tensors = _body(responder.answer(_task("v2", threshold=0.95), [OUTCOME]))["outputs"]
    assert sum(tensors[1]["data"]) == len(labels)
    assert tensors[2]["data"] == [True]


def test_many_answers_each_in_its_place(responder: Responder) -> None:
    answer = responder.answer(_task(many=True), [NotAnImage(), OUTCOME])
    first, second = _body(answer)["predictions"]
    assert answer.status == 200
    assert first["error"]["code"] == "not_an_image"
    assert first["error"]["index"] == 0
    assert second["labels"][0]["name"] == "tabby"


@pytest.mark.parametrize("many", [False, True])
def test_none_answered(responder: Responder, many: bool) -> None:
    outcomes: list[Outcome | ItemError] = [CorruptImage(), NotAnImage()] if many else [CorruptImage()]
    answer = responder.answer(_task(many=many), outcomes)
    body = _body(answer)
    assert answer.status == 422
    assert (body["predictions"][1] if many else body)["error"]["index"] == (1 if many else 0)


def test_refusal_of_a_whole_task(responder: Responder) -> None:
    answer = responder.answer(Task("native", error=BadOption("top_k: no.")), [])
    assert answer.status == 400
    assert _body(answer) == {"error": {"code": "bad_option", "message": "top_k: no.", "index": None}}


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_kserve_errors_are_strings(responder: Responder, protocol: Any) -> None:
    answer = responder.answer(Task(protocol, error=BadOption("top_k: no.")), [])
    assert (answer.status, _body(answer)) == (400, {"error": "bad_option: top_k: no."})
    answer = responder.answer(_task(protocol, many=True), [CorruptImage()])
    assert (answer.status, _body(answer)) == (
        422,
        {"error": "corrupt_image: The image is truncated or corrupt. (image 0)"},
    )


def test_kserve_v1_keeps_good_answers_beside_a_bad_one(responder: Responder) -> None:
    answer = responder.answer(_task("v1", many=True), [OUTCOME, CorruptImage()])
    good, bad = _body(answer)["predictions"]
    assert answer.status == 200
    assert good["labels"]
    assert bad["error"]["code"] == "corrupt_image"


def test_kserve_v2_has_no_place_for_an_error_beside_answers(responder: Responder) -> None:
    answer = responder.answer(_task("v2", many=True), [OUTCOME, CorruptImage()])
    assert answer.status == 422
    assert "(image 1)" in _body(answer)["error"]


def test_kserve_v2_tensors(responder: Responder) -> None:
    body = _body(responder.answer(_task("v2", many=True, threshold=0.8), [OUTCOME, Outcome(SCORES[::-1])]))
    assert (body["model_name"], body["model_version"], body["id"]) == ("demo", "1.0", "7")
    outputs = {output["name"]: output for output in body["outputs"]}
    assert [(name, each["datatype"], each["shape"]) for name, each in outputs.items()] == [
        ("scores", "FP32", [2, 13]),
        ("fired", "BOOL", [2, 13]),
        ("fallback", "BOOL", [2]),
        ("labels", "BYTES", [13]),
    ]
    np.testing.assert_allclose(outputs["scores"]["data"][13:], SCORES[::-1], rtol=1e-6)
    assert [index for index, fired in enumerate(outputs["fired"]["data"]) if fired] == [0, 1, 24, 25]


def test_describe(responder: Responder) -> None:
    body = _body(responder.describe())
    assert body["model"] == MODEL
    assert body["labels"][0] == {"name": "tabby", "index": 0, "threshold": 0.37}
    assert body["input_shape"] == [3, 224, 224]
    assert (body["speed"]["decode"], body["speed"]["precision"], body["speed"]["engine"]) == (
        "scaled",
        "float32",
        "openvino",
    )
    assert body["limits"]["max_images"] == 16
    assert set(body["options"]) == {"threshold", "top_k", "all_scores"}
    assert "or evaluated" in body["metadata"]["notes"]


def test_a_tensor_of_many_labels_is_filled_and_never_searched(
    responder: Responder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fired(tuple[int, ...]):
        __slots__ = ()

        def __contains__(self, index: object) -> bool:
            raise AssertionError("a search for each label")

    monkeypatch.setattr(responses, "decide", lambda *_: Decision(Fired((3, 1)), fallback=False))
    outputs = _body(responder.answer(_task("v2"), [OUTCOME]))["outputs"]
    assert [index for index, fired in enumerate(outputs[1]["data"]) if fired] == [1, 3]
