"""What can be told of an archive before a server takes it: that it opens, climbs nowhere, is whole, and holds what the
handler reads. The worker does the rest: it loads the network and classifies the golden inputs."""

import errno
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from handler.calibration import read_calibration
from handler.contents import PREPROCESSING_FILE, contents_sha256, file_digests, read_metadata, weights_sha256
from handler.errors import LoadError, one_line
from handler.files import read_json
from handler.golden import GOLDEN_DIRECTORY, GOLDEN_FILE, Golden, read_golden
from handler.labels import LABELS_FILE, read_labels
from handler.server_settings import ServerSettings, read_server_settings
from handler.settings import CONFIG_FILE, Settings, read_settings
from handler.thresholds import read_thresholds
from scripts.archive.manifest import Archive, read_archive

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Outline:
    """What an archive says of itself, without its weights and code."""

    archive: Archive
    labels: tuple[str, ...]
    settings: Settings
    server: ServerSettings


@dataclass(frozen=True)
class CheckedArchive(Outline):
    golden: list[Golden]  # none if the archive says self_check: false and brings none
    contents_sha256: str


def check_archive(path: Path) -> CheckedArchive:
    """Raises LoadError, which names the archive, and in it the file, the key and what was expected."""
    archive = read_archive(path)
    with unpacked(path) as directory:
        settings, server = read_settings(directory), read_server_settings(directory)
        labels = read_labels(directory)
        read_thresholds(directory, labels)
        read_calibration(directory, labels)
        read_json(directory / PREPROCESSING_FILE, "an albumentations pipeline")
        digests = file_digests(directory)
        weights_sha256(directory, digests, read_metadata(directory))
        bare = not settings.self_check and not (directory / GOLDEN_FILE).exists()
        golden = [] if bare else read_golden(directory, len(labels))
    return CheckedArchive(archive, labels, settings, server, golden, contents_sha256(digests))


def read_outline(archive: Archive) -> Outline:
    """Raises LoadError. Quick however large the archive is."""
    with unpacked(archive.path, lambda name: name in (CONFIG_FILE, LABELS_FILE)) as directory:
        settings, server = read_settings(directory), read_server_settings(directory)
        return Outline(archive, read_labels(directory), settings, server)


def read_golden_inputs(outline: Outline) -> list[Golden]:
    """Raises LoadError if there are none. Quick, too."""

    def wanted(name: str) -> bool:
        return name == GOLDEN_FILE or name.startswith(f"{GOLDEN_DIRECTORY}/")

    with unpacked(outline.archive.path, wanted) as directory:
        return read_golden(directory, len(outline.labels))


@contextmanager
def unpacked(path: Path, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[Path]:
    """A temporary directory with the archive's files, or some of them. Raises LoadError if it is damaged, if there is
    no room, or if a name in it leads elsewhere, and passes on one that the block raises under the archive's name.
    """
    with tempfile.TemporaryDirectory(prefix="mar-") as directory:
        try:
            with zipfile.ZipFile(path) as mar:
                infos = mar.infolist()
                _check_names(path, infos)
                for info in infos:
                    if wanted(info.filename):
                        mar.extract(info, directory)
        # RuntimeError: a compression that zipfile doesn't know, or a password.
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise LoadError(path, f"{error.strerror} in {tempfile.gettempdir()}, expected room to unpack") from None
            raise LoadError(path, f"damaged: {one_line(error)}, expected a whole archive") from None
        try:
            yield Path(directory)
        except LoadError as error:
            raise LoadError(path, str(error).removeprefix(f"{directory}/")) from None


def _check_names(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    seen = set()
    for info in infos:
        name = PurePosixPath(info.filename)
        if name.is_absolute() or ".." in name.parts or "\\" in info.filename or not info.filename.isprintable():
            raise LoadError(path, f"{info.filename!r}: leads out of the archive, expected names below it")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise LoadError(path, f"{info.filename!r}: a symbolic link, expected plain files")
        if name in seen:
            raise LoadError(path, f"{info.filename!r}: there twice, expected once")
        seen.add(name)
