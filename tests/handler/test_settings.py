from pathlib import Path
from typing import Any

import pytest
import yaml

from handler.errors import LoadError
from handler.sections import read_section
from handler.server_settings import ServerSettings, read_server_settings, write_settings
from handler.settings import Limits, Settings, read_settings

GOOD: dict[str, Any] = {"handler": {"architecture": "resnet18"}}


def _read(directory: Path, config: object) -> tuple[Settings, ServerSettings]:
    (directory / "model-config.yaml").write_text(yaml.safe_dump(config))
    return read_settings(directory), read_server_settings(directory)


def test_defaults(tmp_path: Path) -> None:
    assert _read(tmp_path, GOOD) == (Settings("resnet18"), ServerSettings())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    settings = Settings(
        "vit",
        {"img_size": 64},
        ["linear"],
        "best_label",
        3,
        False,
        0.02,
        "scaled",
        "bfloat16",
        "eager",
        2,
        3,
        {"gain": 1.5},
        Limits(max_images=2),
    )
    server = ServerSettings(minWorkers=2, maxWorkers=3, deviceType="gpu", deviceIds=[0, 1])
    write_settings(tmp_path / "model-config.yaml", settings, server)
    assert (read_settings(tmp_path), read_server_settings(tmp_path)) == (settings, server)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "expected a mapping with the key 'handler'"),
        ({"batchSize": 8}, "handler: missing"),
        ({"handler": None}, "handler: None, expected a mapping"),
        ({"handler": {}}, "handler.architecture: missing, expected a string"),
        ({"handler": {"architecture": 18}}, "handler.architecture: 18, expected a string"),
        ({"handler": {"architecture": "x", "topk": 3}}, "handler.topk: unknown key, expected one of architecture,"),
        ({"handler": {"architecture": "x", "top_k": 0}}, "handler.top_k: 0, expected an integer from 1 to 100000"),
        ({"handler": {"architecture": "x", "top_k": True}}, "handler.top_k: True, expected an integer"),
        ({"handler": {"architecture": "x", "top_k": 2.5}}, "handler.top_k: 2.5, expected an integer"),
        ({"handler": {"architecture": "x", "fallback": "best"}}, "handler.fallback: best, expected none or best_label"),
        ({"handler": {"architecture": "x", "self_check": 1}}, "handler.self_check: 1, expected true or false"),
        ({"handler": {"architecture": "x", "model_kwargs": [1]}}, "handler.model_kwargs: [1], expected a mapping"),
        (
            {"handler": {"architecture": "x", "golden_tolerance": 0.9}},
            "handler.golden_tolerance: 0.9, expected a number from 1e-06 to 0.5",
        ),
        (
            {"handler": {"architecture": "x", "limits": {"max_pixels": 10**9}}},
            "handler.limits.max_pixels: 1000000000, expected an integer from 1024 to 89478485",
        ),
        ({"handler": {"architecture": "x", "limits": 5}}, "handler.limits: 5, expected a mapping"),
        ({**GOOD, "batchsize": 8}, "batchsize: unknown key, expected one of minWorkers"),
        ({**GOOD, "batchSize": "8"}, "batchSize: 8, expected an integer from 1 to 1024"),
        ({**GOOD, "deviceType": "tpu"}, "deviceType: tpu, expected cpu or gpu"),
        ({**GOOD, "deviceIds": ["0"]}, "deviceIds: ['0'], expected a list of integers"),
        ({**GOOD, "minWorkers": 4}, "minWorkers: 4, maxWorkers: None, expected both or neither"),
    ],
)
def test_wrong_settings_name_key_value_and_expectation(tmp_path: Path, config: object, message: str) -> None:
    with pytest.raises(LoadError) as caught:
        _read(tmp_path, config)
    assert message in str(caught.value)
    assert "model-config.yaml" in str(caught.value)


def test_missing_or_broken_file(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"model-config.yaml: missing"):
        read_settings(tmp_path)
    (tmp_path / "model-config.yaml").write_text("a: [")
    with pytest.raises(LoadError, match=r"model-config.yaml: not valid YAML"):
        read_settings(tmp_path)


def test_a_long_value_is_cut() -> None:
    with pytest.raises(LoadError) as caught:
        read_section(Settings, {"architecture": ["x"] * 1000}, "recipe")
    assert len(str(caught.value)) < 150
