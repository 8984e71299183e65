"""Packs a staged directory as a .mar with torch-model-archiver, and makes the file reproducible byte for byte."""

import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from handler.contents import WEIGHTS_FILE
from handler.errors import LoadError
from handler.settings import CONFIG_FILE
from scripts.archive.manifest import MANIFEST

ADAPTER = "handler/adapter.py"
DATE = "SOURCE_DATE_EPOCH"
FIRST_DATE, LAST_DATE = 315_532_800, 4_354_819_198  # the seconds that a zip file can hold: 1980 to 2107


def archiver_command(stage: Path, name: str, version: str, export_path: Path) -> list[str]:
    """The torch-model-archiver command line, which docs/packaging.md shows for pipelines of your own."""
    return [
        "torch-model-archiver",
        *("--model-name", name),
        *("--version", version),
        *("--handler", str(stage / ADAPTER)),
        *("--serialized-file", str(stage / WEIGHTS_FILE)),
        *("--config-file", str(stage / CONFIG_FILE)),
        *("--extra-files", str(stage)),
        *("--export-path", str(export_path)),
    ]


def check_target(target: Path, force: bool) -> None:
    """Raises LoadError if a file can't be written there, or if it exists and force is off."""
    if target.is_dir():
        raise LoadError(target, "is a directory, expected the name of a file")
    if target.exists() and not force:
        raise LoadError(target, "exists already, expected a new name or --force")
    directory = next(path for path in target.absolute().parents if path.exists())
    if not directory.is_dir() or not os.access(directory, os.W_OK):
        raise LoadError(target, f"can't be written, expected a directory with write permission at {directory}")


def read_date() -> int:
    """The archive's date in seconds since 1970, from SOURCE_DATE_EPOCH. Raises LoadError."""
    text = os.environ.get(DATE, str(FIRST_DATE))
    if not text.isdecimal() or int(text) > LAST_DATE:
        raise LoadError(DATE, f"{text!r}, expected seconds since 1970, up to {LAST_DATE}")
    return max(int(text), FIRST_DATE)


def pack(stage: Path, name: str, version: str, target: Path, force: bool) -> None:
    """Writes target whole or not at all. Raises LoadError as check_target and read_date do."""
    check_target(target, force)
    date = read_date()
    target.parent.mkdir(parents=True, exist_ok=True)
    # The archiver removes $TMPDIR/<model-name> before it starts: it gets a $TMPDIR of its own.
    with tempfile.TemporaryDirectory(prefix="mar-") as private, tempfile.TemporaryDirectory(dir=target.parent) as work:
        command = archiver_command(stage, name, version, Path(work))
        done = subprocess.run(
            [sys.executable, "-m", "model_archiver.model_packaging", *command[1:]],
            env={**os.environ, "TMPDIR": private},
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise LoadError(target, f"torch-model-archiver failed: {done.stderr.strip().splitlines()[-1:]}")
        rewritten = Path(work) / "rewritten.mar"
        _rewrite(Path(work) / f"{name}.mar", rewritten, date)
        rewritten.replace(target)


def _rewrite(source: Path, target: Path, date: int) -> None:
    """Sorts the names and gives every file one date and one mode. Nothing is compressed: weights don't shrink, and the
    result would depend on zlib's version."""
    moment = time.gmtime(date)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in sorted(old.namelist()):
            content = old.read(name)
            if name == MANIFEST:
                manifest = json.loads(content)
                manifest["createdOn"] = time.strftime("%d/%m/%Y %H:%M:%S", moment)
                content = json.dumps(manifest, indent=2, sort_keys=True).encode()
            info = zipfile.ZipInfo(name, moment[:6])
            info.external_attr = 0o100644 << 16
            new.writestr(info, content)
