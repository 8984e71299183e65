"""Trials of networks that fail: real archives, and networks that do what a broken one would."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from handler.errors import ItemError, LoadError
from scripts.archive import trials
from scripts.archive.trials import Trial, best_network, try_networks

CPU = torch.device("cpu")
Fault = Callable[[dict[str, Any]], Any]


class Network:
    """Stands in for a Classifier. fault: called with its settings at each pass."""

    batch_size = 1

    def __init__(self, settings: dict[str, Any], fault: Fault) -> None:
        self._settings, self._fault = settings, fault
        self.model = SimpleNamespace(scores=lambda images: fault(settings))

    def example(self, images: int) -> Any:
        return np.zeros((images, 2))

    def classify(self, photos: list[bytes]) -> list[Any]:
        failed = self._fault(self._settings)
        return [failed if isinstance(failed, ItemError) else np.zeros(2, np.float32)] * len(photos)


def _try(demo_mar: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault) -> tuple[list[Trial], list[str]]:
    shown = []
    monkeypatch.setattr(trials, "use_threads", lambda *_: None)
    monkeypatch.setattr(trials, "Classifier", SimpleNamespace(load=lambda *_, **settings: Network(settings, fault)))
    found = try_networks(demo_mar, [b""], CPU, lambda settings, result: shown.append(f"{settings['engine']} {result}"))
    return found, shown


def test_a_score_that_is_not_finite_skips_that_network(demo_mar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(settings: dict[str, Any]) -> Any:
        return ItemError("no finite score") if settings["precision"] == "bfloat16" else None

    found, shown = _try(demo_mar, monkeypatch, fault)
    assert [trial.settings["engine"] for trial in found] == ["eager", "frozen", "openvino"]
    assert shown[3:] == [f"{engine} skipped: photo 1: internal_error: no finite score" for engine in
                         ("eager", "frozen", "openvino")]  # fmt: skip


@pytest.mark.parametrize("error", [MemoryError, torch.cuda.OutOfMemoryError])
def test_too_little_memory_skips_that_network(
    demo_mar: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fault(settings: dict[str, Any]) -> Any:
        if settings["engine"] == "frozen":
            raise error

    found, shown = _try(demo_mar, monkeypatch, fault)
    assert [trial.settings["engine"] for trial in found] == ["eager", "openvino"] * 2
    assert shown[1] == "frozen skipped: out of memory"


def test_a_photo_that_the_plain_network_refuses_ends_it(demo_mar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LoadError, match=r"cat-breeds.mar: photo 1: internal_error: no image"):
        _try(demo_mar, monkeypatch, lambda _: ItemError("no image"))


def test_without_a_network_within_the_tolerance_it_says_so() -> None:
    far, near = Trial({"engine": "frozen"}, 9, 0.2), Trial({"engine": "eager"}, 1, 0.01)
    assert best_network([far, near], 0.01) is near
    for found in ([], [far]):
        with pytest.raises(LoadError, match=r"networks: none ran with all scores within 0.01 of the plain ones"):
            best_network(found, 0.01)
