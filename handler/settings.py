"""What model-config.yaml says: TorchServe's own keys at the top level, the handler's under `handler`.

Validated once, by the same code at build and at load. Each default stands here and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml

from handler.errors import LoadError
from handler.files import read_yaml

CONFIG_FILE = "model-config.yaml"
# Pillow refuses twice this many pixels by itself; a limit above it could not be kept.
PILLOW_MAX_PIXELS = 89_478_485

Section = TypeVar("Section")


def _bounded(default: Any, low: float, high: float) -> Any:
    return field(default=default, metadata={"bounds": (low, high)})


@dataclass(frozen=True)
class Limits:
    """What one request may ask of the server."""

    max_images: int = _bounded(16, 1, 1024)  # images in one request
    max_image_bytes: int = _bounded(10 * 2**20, 1024, 2**30)  # one encoded image
    max_pixels: int = _bounded(50_000_000, 1024, PILLOW_MAX_PIXELS)  # width x height of one image
    # The longer side over the shorter: resizing the shorter side of a strip one pixel wide would fill the memory.
    max_aspect_ratio: float = _bounded(20.0, 1, 1000)


@dataclass(frozen=True)
class Settings:
    """The `handler` section."""

    architecture: str  # a name that timm.create_model knows
    model_kwargs: dict[str, Any] = field(default_factory=dict)  # further arguments of timm.create_model
    fallback: Literal["none", "best_label"] = "none"  # the labels of an image on which no threshold is reached
    top_k: int = _bounded(5, 1, 100_000)  # how many of the best scores are listed unless the request says
    self_check: bool = True  # classify the golden inputs before serving
    golden_tolerance: float = _bounded(0.01, 1e-6, 0.5)  # largest allowed difference of a golden score
    decode: Literal["exact", "scaled"] = "exact"  # whether a JPEG is decoded whole, or smaller where that does
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # of the network
    # The network as recorded once, as Python runs it, or as scripts/tune.py compiled it.
    engine: Literal["frozen", "eager", "compiled"] = "frozen"
    torch_threads: int | None = _bounded(None, 1, 1024)  # for one forward pass; else the worker's share of the cores
    decode_threads: int | None = _bounded(None, 1, 1024)  # images decoded side by side; else the same
    tuned: dict[str, Any] = field(default_factory=dict)  # what scripts/tune.py measured when it chose
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class ServerSettings:
    """TorchServe's own keys. Both worker counts are always set: TorchServe ignores one without the other."""

    minWorkers: int = _bounded(1, 1, 1024)
    maxWorkers: int = _bounded(1, 1, 1024)
    batchSize: int = _bounded(8, 1, 1024)  # requests that are classified together, at the most
    # Milliseconds that an idle worker waits for more; 0 would be TorchServe's default, 100.
    maxBatchDelay: int = _bounded(1, 1, 60_000)
    responseTimeout: int = _bounded(60, 1, 3600)  # seconds until a silent worker is restarted
    startupTimeout: int = _bounded(300, 1, 3600)  # seconds that a worker may take to load
    deviceType: Literal["cpu", "gpu"] | None = None
    deviceIds: list[int] | None = None
    jobQueueSize: int | None = _bounded(None, 1, 100_000)
    maxRetryTimeoutInSec: int | None = _bounded(None, 1, 86_400)
    clientTimeoutInMills: int | None = _bounded(None, 0, 86_400_000)

    def __post_init__(self) -> None:
        if self.minWorkers > self.maxWorkers:
            raise LoadError(
                CONFIG_FILE, f"minWorkers: {self.minWorkers}, expected at most maxWorkers, {self.maxWorkers}"
            )


def read_section(section: type[Section], values: object, source: object, prefix: str = "") -> Section:
    """Makes a settings dataclass from a mapping; raises LoadError on an unknown key, a wrong type or a value out of
    bounds."""
    if not isinstance(values, Mapping):
        raise LoadError(source, f"{prefix.rstrip('.') or 'content'}: {_show(values)}, expected a mapping")
    known = {each.name: each for each in fields(section)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise LoadError(source, f"{prefix}{_show(key)}: unknown key, expected one of {', '.join(known)}")
    for key, each in known.items():
        if key not in values and each.default is MISSING and each.default_factory is MISSING:
            raise LoadError(source, f"{prefix}{key}: missing, expected {_expectation(each)}")
    return section(**{key: _check(known[key], value, source, prefix) for key, value in values.items()})


def read_settings(directory: Path) -> tuple[Settings, ServerSettings]:
    """Reads the model-config.yaml of an unpacked archive."""
    path = directory / CONFIG_FILE
    config = read_yaml(path, "TorchServe's settings and the handler's")
    if not isinstance(config, Mapping):
        raise LoadError(path, "expected a mapping with the key 'handler'")
    server = {key: value for key, value in config.items() if key != "handler"}
    if "handler" not in config:
        raise LoadError(path, "handler: missing, expected the handler's settings")
    return read_section(Settings, config["handler"], path, "handler."), read_section(ServerSettings, server, path)


def write_settings(path: Path, settings: Settings, server: ServerSettings) -> None:
    config = {key: value for key, value in asdict(server).items() if value is not None}
    path.write_text(yaml.safe_dump({**config, "handler": asdict(settings)}, sort_keys=False))


def _check(each: "Field[Any]", value: object, source: object, prefix: str) -> Any:
    name = prefix + each.name
    if each.type is Limits:
        return read_section(Limits, value, source, name + ".")
    if not _fits(each, value):
        raise LoadError(source, f"{name}: {_show(value)}, expected {_expectation(each)}")
    return value


def _fits(each: "Field[Any]", value: object) -> bool:
    if value is None:
        return each.default is None
    if "bounds" in each.metadata:
        low, high = each.metadata["bounds"]
        kinds = (int, float) if each.type is float else (int,)
        return isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high
    if choices := _choices(each):
        return value in choices
    if each.type == dict[str, Any]:
        return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    if each.type is bool:
        return isinstance(value, bool)
    if each.type is str:
        return isinstance(value, str) and bool(value)
    return isinstance(value, list) and all(type(one) is int for one in value)


def _choices(each: "Field[Any]") -> tuple[str, ...]:
    for kind in (each.type, *get_args(each.type)):
        if get_origin(kind) is Literal:
            return get_args(kind)
    return ()


def _expectation(each: "Field[Any]") -> str:
    if "bounds" in each.metadata:
        low, high = each.metadata["bounds"]
        return f"{'a number' if each.type is float else 'an integer'} from {low} to {high}"
    if choices := _choices(each):
        return " or ".join(choices)
    kinds: dict[Any, str] = {bool: "true or false", str: "a string", dict[str, Any]: "a mapping"}
    return kinds.get(each.type, "a list of integers")


def _show(value: object) -> str:
    text = str(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
