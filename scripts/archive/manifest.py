"""Reads the manifest that torch-model-archiver writes into an archive, and lists the archives of a model store."""

import json
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from handler.errors import LoadError
from handler.files import unreadable

MANIFEST = "MAR-INF/MANIFEST.json"


# What zipfile raises where it can't read a member. RuntimeError: a password, or an unknown compression method.
DAMAGED = (EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Archive:
    """One version of a model, as a file in a model store."""

    path: Path
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def read_archive(path: Path) -> Archive:
    """Raises LoadError if the file is not an archive."""
    try:
        with zipfile.ZipFile(path) as mar:
            model = json.loads(mar.read(MANIFEST))["model"]
        return Archive(path, str(model["modelName"]), str(model["modelVersion"]))
    except OSError as error:
        raise unreadable(path, error, "a .mar (scripts/build_archive.py makes one)") from None
    except (KeyError, TypeError, ValueError, *DAMAGED):
        raise LoadError(path, "not an archive that torch-model-archiver made") from None


def find_archives(store: Path) -> list[Archive]:
    """As scan_store. Raises LoadError for the first file that is wrong, too."""
    archives, problems = scan_store(store)
    if problems:
        raise problems[0]
    return archives


def scan_store(store: Path) -> tuple[list[Archive], list[LoadError]]:
    """The archives of a store by name, and of each name the newest version first: TorchServe makes that the default.
    And for each .mar that is not an archive, or holds a version that another file holds, what is wrong with it.

    Raises LoadError if the store can't be read.
    """
    try:
        files = sorted(path for path in store.iterdir() if path.suffix == ".mar")
    except OSError as error:
        raise unreadable(store, error, "a directory of archives") from None
    seen: dict[tuple[str, str], Archive] = {}
    problems = []
    for path in files:
        try:
            archive = read_archive(path)
        except LoadError as error:
            problems.append(error)
            continue
        other = seen.setdefault((archive.name, archive.version), archive)
        if other is not archive:
            problems.append(LoadError(path, f"holds {archive}, as {other.path.name} does; expected one file a version"))
    newest_first = sorted(seen.values(), key=lambda archive: natural(archive.version), reverse=True)
    return sorted(newest_first, key=lambda archive: archive.name), problems


def natural(version: str) -> list[tuple[bool, int, str]]:
    """A sort key in which 1.10 is newer than 1.9, and 1.0-tuned newer than 1.0 and older than 1.0.1."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.findall(r"\d+|\D+", version)]
