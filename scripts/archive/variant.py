"""An archive with other settings, and all else as it was."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from handler.settings import CONFIG_FILE, read_settings, write_settings
from scripts.archive.check import unpacked
from scripts.archive.manifest import MANIFEST, read_archive
from scripts.archive.mar import ADAPTER, pack


def write_variant(
    source: Path, target: Path, handler: Mapping[str, Any], torchserve: Mapping[str, Any], force: bool = False
) -> None:
    """Writes target, which may be source. Raises LoadError."""
    archive = read_archive(source)
    with unpacked(source) as directory:
        # What the archiver adds itself.
        shutil.rmtree(directory / Path(MANIFEST).parent)
        (directory / Path(ADAPTER).name).unlink()
        settings, server = read_settings(directory)
        write_settings(directory / CONFIG_FILE, replace(settings, **handler), replace(server, **torchserve))
        pack(directory, archive.name, archive.version, target, force)
