"""An archive with other settings, and all else as it was."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from handler.compiled import COMPILED_FILE, NETWORK_FILE
from handler.server_settings import read_server_settings, write_settings
from handler.settings import CONFIG_FILE, read_settings
from scripts.archive.compiler import compile_network
from scripts.archive.manifest import MANIFEST, read_archive
from scripts.archive.mar import ADAPTER, pack
from scripts.archive.unpacking import unpacked


def write_variant(
    source: Path, target: Path, handler: Mapping[str, Any], torchserve: Mapping[str, Any], force: bool = False
) -> None:
    """Writes target, which may be source. A network that is to be compiled is compiled here, anew, if `handler` names
    the engine or the precision. Raises LoadError."""
    archive = read_archive(source)
    with unpacked(source) as directory:
        # What the archiver adds itself.
        shutil.rmtree(directory / Path(MANIFEST).parent)
        (directory / Path(ADAPTER).name).unlink()
        settings, server = read_settings(directory), read_server_settings(directory)
        changed = replace(settings, **handler)
        if {"engine", "precision"} & handler.keys():
            for name in (NETWORK_FILE, COMPILED_FILE):
                (directory / name).unlink(missing_ok=True)
            if changed.engine == "compiled":
                compile_network(directory, changed.precision)
        write_settings(directory / CONFIG_FILE, changed, replace(server, **torchserve))
        pack(directory, archive.name, archive.version, target, force)
