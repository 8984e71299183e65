"""The handler's own settings: the section `handler` of model-config.yaml. Each default stands here and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from handler.errors import LoadError
from handler.files import read_yaml
from handler.sections import bounded, read_section

CONFIG_FILE = "model-config.yaml"
PILLOW_MAX_PIXELS = 89_478_485  # above this Pillow warns of a decompression bomb, above twice this it refuses
EngineName = Literal["auto", "openvino", "frozen", "eager"]


@dataclass(frozen=True)
class Limits:
    """What one request may ask of the server."""

    max_images: int = bounded(16, 1, 1024)  # images in one request
    max_image_bytes: int = bounded(10 * 2**20, 1024, 2**30)  # one encoded image
    # Width x height of one image. A JPEG is decoded line by line; other formats take many times its memory and time.
    max_pixels: int = bounded(50_000_000, 1024, PILLOW_MAX_PIXELS)  # of a JPEG
    max_pixels_other: int = bounded(17_000_000, 1024, PILLOW_MAX_PIXELS)  # in any other format
    max_decode_seconds: float = bounded(1.5, 0.01, 3600)  # processor time to decode the images of one request
    # The longer side over the shorter: resizing the shorter side of a strip one pixel wide would fill the memory.
    max_aspect_ratio: float = bounded(20.0, 1, 1000)


@dataclass(frozen=True)
class Settings:
    """The `handler` section."""

    architecture: str  # a name that timm.create_model knows
    model_kwargs: dict[str, Any] = field(default_factory=dict)  # further arguments of timm.create_model
    # Layers in the place of the architecture's last one, in order, by the names in head.py. Empty: the architecture's.
    head: list[str] = field(default_factory=list)
    fallback: Literal["none", "best_label"] = "none"  # what an image gets whose scores are all below the thresholds
    top_k: int = bounded(5, 1, 100_000)  # how many of the best scores are listed unless the request says
    self_check: bool = True  # classify the golden inputs before serving
    golden_tolerance: float = bounded(0.01, 1e-6, 0.5)  # largest allowed difference of a golden score
    decode: Literal["exact", "scaled"] = "exact"  # scaled: a JPEG is decoded smaller, as decode.py says
    # Of the network. int8 is what scripts/quantise.py makes.
    precision: Literal["float32", "bfloat16", "float16", "int8"] = "float32"
    engine: EngineName = "auto"  # how the network runs; auto: the fastest of the others that can be had
    # Threads of one forward pass, and images decoded side by side. None: the worker's share of the cores.
    torch_threads: int | None = bounded(None, 1, 1024)
    decode_threads: int | None = bounded(None, 1, 1024)
    tuned: dict[str, Any] = field(default_factory=dict)  # what scripts/tune.py measured
    limits: Limits = field(default_factory=Limits)


def read_settings(directory: Path) -> Settings:
    """Reads the section of an unpacked archive. Raises LoadError."""
    path = directory / CONFIG_FILE
    config = read_config(path)
    if "handler" not in config:
        raise LoadError(path, "handler: missing, expected the handler's settings")
    return read_section(Settings, config["handler"], path, "handler.")


def read_config(path: Path) -> Mapping[str, Any]:
    """The whole of model-config.yaml. Raises LoadError."""
    config = read_yaml(path, "TorchServe's settings and the handler's")
    if not isinstance(config, Mapping):
        raise LoadError(path, "expected a mapping with the key 'handler'")
    return config
