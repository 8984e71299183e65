"""Writes a copy of an archive with other settings, with today's handler, and if asked with another version. All else
stays as it was."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from handler.contents import METADATA_FILE, read_metadata
from handler.sections import read_section
from handler.server_settings import ServerSettings, read_server_settings, write_settings
from handler.settings import CONFIG_FILE, Settings, read_settings
from scripts.archive.manifest import MANIFEST, Archive, read_archive
from scripts.archive.mar import ADAPTER, pack
from scripts.archive.recipe import check_name
from scripts.archive.stage import write_json, write_package
from scripts.archive.unpacking import unpacked


def write_variant(
    source: Path,
    target: Path,
    handler: Mapping[str, Any],
    torchserve: Mapping[str, Any],
    *,
    version: str | None = None,
    force: bool = False,
) -> None:
    """Writes target, which may be source.

    handler, torchserve: the settings that change, checked as those of a recipe are. Raises LoadError.
    """
    archive = read_archive(source)
    with unpacked(source) as directory:
        repack(directory, archive, target, handler, torchserve, version=version, force=force)


def repack(
    directory: Path,
    archive: Archive,
    target: Path,
    handler: Mapping[str, Any],
    torchserve: Mapping[str, Any],
    *,
    version: str | None = None,
    force: bool = False,
) -> None:
    """The same of an archive that was unpacked into the directory, whose other files may have changed since."""
    version = version or archive.version
    # The archiver adds these two itself.
    shutil.rmtree(directory / Path(MANIFEST).parent)
    (directory / Path(ADAPTER).name).unlink()
    # It adds today's adapter, which an older archive's package may not fit.
    write_package(directory)
    config = directory / CONFIG_FILE
    settings, server = read_settings(directory), read_server_settings(directory)
    settings, server = change_settings(settings, handler, config), change_server(server, torchserve, config)
    write_settings(config, settings, server)
    if version != archive.version:
        _write_version(directory, version)
    pack(directory, archive.name, version, target, force)


def change_settings(settings: Settings, changes: Mapping[str, Any], source: object) -> Settings:
    """Raises LoadError where reading the changed settings back would."""
    return read_section(Settings, {**asdict(settings), **changes}, source, "handler.")


def change_server(server: ServerSettings, changes: Mapping[str, Any], source: object) -> ServerSettings:
    """The same for TorchServe's own keys."""
    return read_section(ServerSettings, {**asdict(server), **changes}, source)


def _write_version(directory: Path, version: str) -> None:
    check_name("version", version, directory / MANIFEST)
    metadata = read_metadata(directory)
    if metadata:  # an archive made by hand may have none
        write_json(directory / METADATA_FILE, {**metadata, "version": version})
