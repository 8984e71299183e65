"""The whole way from requests to answers, without TorchServe."""

import dataclasses
import gc
import json
import logging
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from samples import CHELSEA, COFFEE

from bench.costly import with_chunks
from handler.classifier import Classifier
from handler.errors import ItemError
from handler.item import Item
from handler.job import Batch, Job
from handler.log import log_as_json
from handler.messages import Request
from handler.service import Service
from handler.watchdog import Watchdog
from scripts.paths import ROOT

PATIENT = Watchdog(pass_seconds=3600, batch_size=8, max_decode_seconds=3600, server_limit=3600)


def _service(classifier: Classifier, batches: list[Batch] | None = None) -> Service:
    report = (batches if batches is not None else []).append
    return Service(classifier, "cats", "1.0", report, PATIENT)


def test_the_adapter_alone_needs_torchserve() -> None:
    modules = (ROOT / "handler").rglob("*.py")
    importing = {path.name for path in modules if re.search(r"^\s*(from|import) ts\b", path.read_text(), re.MULTILINE)}
    assert importing == {"adapter.py"}


def test_each_request_gets_its_own_answer_and_one_event_tells_of_all(demo: Classifier) -> None:
    batches: list[Batch] = []
    requests = [
        Request("a", fields=(("image1", CHELSEA), ("image2", b"bad"), ("top_k", b"1"))),
        Request("b", "describe"),
        Request("c", body=b""),
        Request("d", headers={"x-top-k": "0"}, body=COFFEE),
    ]
    answers = _service(demo, batches).answer(requests)
    bodies = [json.loads(answer.body) for answer in answers]
    assert [answer.status for answer in answers] == [200, 200, 400, 200]
    assert [len(body.get("top_k", "")) for body in bodies[0]["predictions"]] == [1, 0]
    assert bodies[1]["architecture"] == "tf_efficientnet_lite0"
    assert bodies[2]["error"]["code"] == "no_payload"
    assert (bodies[3]["labels"], bodies[3]["top_k"]) == ([], [])
    [batch] = batches
    assert [job.request.id for job in batch.jobs] == ["a", "c", "d"]
    assert [batch.log_fields(job)["code"] for job in batch.jobs] == ["ok", "no_payload", "ok"]


def test_nothing_of_a_request_stays_when_it_is_answered(demo: Classifier) -> None:
    """Not until Python's collector of circles looks, either: bodies of 16 MiB would fill the memory before."""
    service = Service(demo, "cats", "1.0", lambda batch: None, PATIENT)
    bodies = (
        CHELSEA,
        b"bad",
        b"",
        b"\xff\xd8\xff bad",
        bytes(demo.settings.limits.max_image_bytes + 1),
        {"instances": 5},
    )
    requests = [Request(str(index), body=body) for index, body in enumerate(bodies)]
    requests.append(Request("form", fields=(("image1", CHELSEA), ("image2", b"bad"))))
    service.answer(requests)
    gc.collect()
    before = _of_requests()
    gc.disable()
    try:
        service.answer(requests)
        assert _of_requests() == before
    finally:
        gc.enable()


def _of_requests() -> int:
    """How many objects of requests there are."""
    return sum(issubclass(type(thing), Job | Item | ItemError) for thing in gc.get_objects())


def test_the_images_of_a_request_share_its_time_and_others_have_their_own(demo: Classifier) -> None:
    limits = dataclasses.replace(demo.settings.limits, max_decode_seconds=0.2)
    strict = dataclasses.replace(demo, settings=dataclasses.replace(demo.settings, limits=limits))
    costly = with_chunks(200_000)
    several = Request("a", fields=(("image1", costly), ("image2", CHELSEA), ("image3", costly), ("image4", costly)))
    first, second = _service(strict).answer([several, Request("b", body=CHELSEA)])
    codes = [each.get("error", {}).get("code") for each in json.loads(first.body)["predictions"]]
    assert codes[0] == codes[2] == codes[3] == "too_costly"
    assert second.status == 200


def test_a_description_alone_is_no_event(demo: Classifier) -> None:
    batches: list[Batch] = []
    _service(demo, batches).answer([Request("a", "describe")])
    assert batches == []


def test_options_reach_every_stage(demo: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []
    decode, preprocess, score = Classifier.decode, Classifier.preprocess, Classifier.score

    def spy(name: str, stage: Any) -> Any:
        def call(self: Classifier, item: Item[Any]) -> Any:
            seen.append((name, item.options.top_k))
            return stage(self, item)

        return call

    def spy_on_score(self: Classifier, items: Any) -> Any:
        seen.extend(("score", item.options.top_k) for item in items)
        return score(self, items)

    monkeypatch.setattr(Classifier, "decode", spy("decode", decode))
    monkeypatch.setattr(Classifier, "preprocess", spy("preprocess", preprocess))
    monkeypatch.setattr(Classifier, "score", spy_on_score)
    _service(demo).answer([Request("a", headers={"x-top-k": "2"}, body=COFFEE)])
    assert seen == [("decode", 2), ("preprocess", 2), ("score", 2)]


@pytest.mark.parametrize(
    ("broken", "expected"), [("pipeline", {"request_id": "b"}), ("model", {"request_ids": ["a", "b"]})]
)
def test_a_traceback_names_its_requests(
    demo: Classifier, capsys: pytest.CaptureFixture[str], broken: str, expected: dict[str, Any]
) -> None:
    """So that a 500 can be tied to its cause."""

    class Model:
        def scores(self, images: NDArray[Any]) -> None:
            raise RuntimeError("device on fire")

    def prepare(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if pixels.shape[1] == 600:
            raise RuntimeError("device on fire")
        return np.zeros((224, 224, 3), np.uint8)

    changes: dict[str, Any] = {"pipeline": dataclasses.replace(demo.pipeline, prepare=prepare), "model": Model()}
    classifier = dataclasses.replace(demo, **{broken: changes[broken]})
    logger = logging.getLogger("handler")
    before = logger.handlers, logger.level, logger.propagate
    log_as_json("handler")
    try:
        answers = _service(classifier).answer([Request("a", body=CHELSEA), Request("b", body=COFFEE)])
    finally:
        logger.handlers, logger.level, logger.propagate = before
    [line] = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "on fire" in line]
    assert {name: line[name] for name in expected} == expected
    assert answers[1].status == 500


def test_many_labels_cost_no_more_than_their_number(demo: Classifier) -> None:
    """A label is looked up by its name, never searched for among all of them."""

    class Label(str):
        __slots__ = ()
        compared = 0

        def __eq__(self, other: object) -> bool:
            Label.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    names = tuple(Label(f"label {index}") for index in range(300))
    wide = dataclasses.replace(demo, labels=names, thresholds=np.full(300, 0.5))
    thresholds = json.dumps({f"label {index}": 0.25 for index in range(300)})
    tensor = {"name": "images", "shape": [0], "datatype": "BYTES", "data": []}
    body = {"inputs": [tensor], "parameters": {"threshold": thresholds}}
    [answer] = _service(wide).answer([Request("a", body=body, protocol="v2")])
    assert answer.status == 400
    assert "no_payload" in answer.body.decode()
    assert Label.compared <= 2 * len(names)
