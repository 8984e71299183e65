"""Which engine runs a network, and what becomes of one that an engine can't run."""

import logging
from typing import get_args

import numpy as np
import pytest
import torch
from samples import TINY, Asking, Counting

from handler import engines
from handler.engines import ENGINES, Engine, Logits, Plan, start_engine
from handler.errors import LoadError, Unavailable
from handler.network import Forward, create_network
from handler.preprocess import Normalise
from handler.settings import EngineName

IMAGES = torch.from_numpy(np.random.default_rng(0).random((2, 3, 160, 160), dtype=np.float32))


def test_frozen_scores_are_those_of_the_network_for_any_batch() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, 160, 160, 3), dtype=np.uint8))
    normalise = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 255)
    eager = Forward(create_network(TINY, 3, {}, "here"), normalise).on(torch.device("cpu"))
    name, frozen = start_engine("frozen", Plan(lambda: eager, pixels[:4]), "here")
    assert name == "frozen"
    assert isinstance(frozen, torch.jit.ScriptModule)
    with torch.inference_mode():
        for images in (1, 3, 4, 8):
            torch.testing.assert_close(frozen(pixels[:images]), eager(pixels[:images]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Counting().eval(), r"frozen: scores differ by 0\.2311"),
        (Asking().eval(), "frozen: torch.jit.trace can't record this architecture: not under a tracer"),
    ],
)
def test_a_network_that_can_not_be_recorded_is_refused_or_runs_eagerly(
    network: torch.nn.Module, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    plan = Plan(lambda: network, IMAGES)
    with pytest.raises(LoadError, match=f"here: engine: frozen, expected auto: {reason}"):
        start_engine("frozen", plan, "here")
    assert start_engine("auto", plan, "here") == ("eager", network)
    assert [line for line in caplog.messages if line.startswith("engine: frozen can't be used: frozen: ")]


def _refused(monkeypatch: pytest.MonkeyPatch, error: LoadError) -> None:
    def load(plan: Plan) -> Logits:
        raise error

    monkeypatch.setattr(engines, "ENGINES", {**ENGINES, "openvino": Engine(load, ("cpu",))})


def test_auto_takes_the_first_that_can_be_had_and_says_why_not_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _refused(monkeypatch, Unavailable("openvino", "crashes on this processor"))
    name, _ = start_engine("auto", Plan(lambda: torch.nn.Flatten().eval(), IMAGES), "here")
    assert name == "frozen"
    assert caplog.record_tuples == [
        ("handler.engines", logging.WARNING, "engine: openvino can't be used: openvino: crashes on this processor")
    ]


def test_a_wrong_file_stops_auto_too(monkeypatch: pytest.MonkeyPatch) -> None:
    _refused(monkeypatch, LoadError("network.xml", "of another model"))
    with pytest.raises(LoadError, match=r"^network.xml: of another model$"):
        start_engine("auto", Plan(lambda: torch.nn.Flatten().eval(), IMAGES), "here")


def test_an_engine_runs_on_its_devices_alone() -> None:
    plan = Plan(lambda: torch.nn.Flatten().eval(), IMAGES.to("meta"))  # stands for any other
    with pytest.raises(LoadError, match=r"here: engine: openvino, expected auto: meta: it runs on cpu alone"):
        start_engine("openvino", plan, "here")


def test_every_engine_of_the_settings_is_in_the_table() -> None:
    assert {"auto", *ENGINES} == set(get_args(EngineName))
