"""With a clock and a client of its own: how often TorchServe is asked."""

from typing import Any

import pytest

from scripts.server.catalog import Catalog, UnknownModelError
from scripts.server.client import ApiError, Client


class Asked(Client):
    """Answers as TorchServe does, and counts."""

    def __init__(self) -> None:
        super().__init__("", "")
        self.asked: list[str] = []
        self.described: dict[str, Any] = {
            "modelVersion": "1.0",
            "modelUrl": "cats.mar",
            "workers": [{"status": "READY", "startTime": "1"}],
        }

    def models(self, timeout: float = 0) -> list[str]:
        self.asked.append("models")
        return ["cats"]

    def describe(self, model: str, version: str | None = None) -> dict[str, Any]:
        self.asked.append(f"describe {model} {version}")
        if model == "broken":
            raise ApiError("silent")
        if model != "cats" or version not in (None, "1.0"):
            raise ApiError("not found", 404)
        return self.described

    def versions(self, model: str) -> list[dict[str, Any]]:
        return [self.described]

    def details(self, model: str, version: str, timeout: float = 0) -> dict[str, Any]:
        self.asked.append("details")
        return {"labels": [{}, {}]}


def _catalog() -> tuple[Catalog, Asked, list[float]]:
    asked, now = Asked(), [0.0]
    return Catalog(asked, lambda: now[0]), asked, now


def test_answers_are_kept_for_a_second() -> None:
    catalog, asked, now = _catalog()
    for now[0] in (0.0, 0.9):
        assert catalog.models() == ["cats"]
        assert catalog.ready("cats")
        for name, version in (("dogs", None), ("cats", "9")):
            with pytest.raises(UnknownModelError):
                catalog.ready(name, version)
    assert asked.asked == ["models", "describe cats None", "describe dogs None", "describe cats 9"]
    asked.described = {**asked.described, "workers": [{"status": "UNLOADED", "startTime": "1"}]}
    assert catalog.ready("cats")
    now[0] = 1.0
    assert not catalog.ready("cats")


def test_a_worker_is_asked_for_the_labels_once_for_each_registration() -> None:
    catalog, asked, now = _catalog()
    for now[0] in (0.0, 2.0, 4.0):
        assert catalog.metadata("cats")["outputs"][3] == {"name": "labels", "datatype": "BYTES", "shape": [2]}
    assert asked.asked.count("details") == 1
    asked.described = {**asked.described, "workers": [{"status": "READY", "startTime": "2"}]}
    now[0] = 6.0
    catalog.metadata("cats")
    assert asked.asked.count("details") == 2


def test_no_answer_is_not_kept_and_what_is_kept_is_bounded() -> None:
    catalog, asked, _ = _catalog()
    for _ in range(2):
        with pytest.raises(ApiError):
            catalog.ready("broken")
    assert asked.asked.count("describe broken None") == 2
    for index in range(2000):
        with pytest.raises(UnknownModelError):
            catalog.ready(f"model{index}")
    assert len(catalog._answers) <= 1000
