"""Checks an archive before a server takes it: it opens, no path in it leads outside, its hashes match, and the handler
can read its files. The network is not loaded: the worker does that, and classifies the golden inputs."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from handler.calibration import read_calibration
from handler.contents import (
    PREPROCESSING_FILE,
    WEIGHTS_FILE,
    contents_sha256,
    file_digests,
    read_metadata,
    weights_sha256,
)
from handler.converted import network_files
from handler.errors import LoadError
from handler.files import read_json
from handler.golden import GOLDEN_DIRECTORY, GOLDEN_FILE, Golden, read_golden
from handler.labels import LABELS_FILE, read_labels
from handler.server_settings import ServerSettings, read_server_settings
from handler.settings import CONFIG_FILE, Settings, read_settings
from handler.thresholds import read_thresholds
from scripts.archive.manifest import Archive, read_archive
from scripts.archive.unpacking import unpacked

PACKAGE_FILE = "handler/__init__.py"


@dataclass(frozen=True)
class Sizes:
    """Bytes of an unpacked archive."""

    weights: int
    all: int
    network: int = 0  # as it was converted; 0 without

    @classmethod
    def read(cls, path: Path) -> Self:
        with zipfile.ZipFile(path) as mar:
            sizes = {member.filename: member.file_size for member in mar.infolist()}
        network = sum(sizes.get(network_files(precision)[0], 0) for precision in ("float32", "int8"))
        return cls(sizes.get(WEIGHTS_FILE, 0), sum(sizes.values()), network)


@dataclass(frozen=True)
class Outline:
    """An archive's settings, labels and sizes, without its weights and code."""

    archive: Archive
    labels: tuple[str, ...]
    settings: Settings
    server: ServerSettings
    sizes: Sizes

    @property
    def converted(self) -> bool:
        """Whether a worker on a CPU runs the converted network, if nothing speaks against it there."""
        return self.sizes.network > 0 and self.settings.engine in ("auto", "openvino")


@dataclass(frozen=True)
class CheckedArchive(Outline):
    golden: list[Golden]  # empty if the archive says self_check: false and has none
    contents_sha256: str


def check_archive(path: Path) -> CheckedArchive:
    """Reads and checks every file. Raises LoadError with the archive, the file in it, the key and what was expected."""
    archive = read_archive(path)
    with unpacked(path) as directory:
        _check_package(directory)
        settings, server = read_settings(directory), read_server_settings(directory)
        labels = read_labels(directory)
        read_thresholds(directory, labels)
        read_calibration(directory, labels)
        read_json(directory / PREPROCESSING_FILE, "an albumentations pipeline")
        digests = file_digests(directory)
        weights_sha256(directory, digests, read_metadata(directory))
        golden = _read_golden(directory, settings, len(labels))
    return CheckedArchive(archive, labels, settings, server, Sizes.read(path), golden, contents_sha256(digests))


def read_outline(archive: Archive) -> Outline:
    """Unpacks the small files alone, so it is quick for an archive of any size. Raises LoadError."""
    with unpacked(archive.path, lambda name: name in (PACKAGE_FILE, CONFIG_FILE, LABELS_FILE)) as directory:
        _check_package(directory)
        settings, server = read_settings(directory), read_server_settings(directory)
        return Outline(archive, read_labels(directory), settings, server, Sizes.read(archive.path))


def read_golden_inputs(outline: Outline) -> list[Golden]:
    """Unpacks the golden inputs alone: none if self_check is false and the archive has none. Raises LoadError."""

    def wanted(name: str) -> bool:
        return name == GOLDEN_FILE or name.startswith(f"{GOLDEN_DIRECTORY}/")

    with unpacked(outline.archive.path, wanted) as directory:
        return _read_golden(directory, outline.settings, len(outline.labels))


def _read_golden(directory: Path, settings: Settings, classes: int) -> list[Golden]:
    if not settings.self_check and not (directory / GOLDEN_FILE).exists():
        return []
    return read_golden(directory, classes)


def _check_package(directory: Path) -> None:
    """Without its own copy of the package, a worker would run the one that is installed beside the server, whatever
    version that is."""
    path = directory / PACKAGE_FILE
    if not path.is_file():
        cure = "torch-model-archiver --extra-files DIR, where DIR holds handler/"
        raise LoadError(path, f"missing, expected the package handler/ ({cure})")
