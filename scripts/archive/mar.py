"""A staged directory → a .mar, by torch-model-archiver and then byte for byte reproducible."""

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
ZIP_EPOCH = 315_532_800  # 1980-01-01, the earliest date that a zip file can hold


def archiver_command(stage: Path, name: str, version: str, export_path: Path) -> list[str]:
    """The plain torch-model-archiver command line; docs/packaging.md shows it for pipelines of your own."""
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
    """Raises LoadError where it exists and force is off."""
    if target.exists() and not force:
        raise LoadError(target, "exists already, expected a new name or --force")


def pack(stage: Path, name: str, version: str, target: Path, force: bool) -> None:
    """Writes target whole or not at all. Raises LoadError as check_target does."""
    check_target(target, force)
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
        _rewrite(Path(work) / f"{name}.mar", rewritten)
        rewritten.replace(target)


def _rewrite(source: Path, target: Path) -> None:
    """Sorted names, one date, one mode, no compression: weights don't shrink, and zlib versions differ."""
    seconds = max(int(os.environ.get("SOURCE_DATE_EPOCH", ZIP_EPOCH)), ZIP_EPOCH)
    moment = time.gmtime(seconds)
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
