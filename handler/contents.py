"""One digest of all that an archive holds: two archives with the same digest give the same answers."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handler.errors import LoadError
from handler.files import read_json

WEIGHTS_FILE = "model.safetensors"
METADATA_FILE = "metadata.json"
PREPROCESSING_FILE = "preprocessing.json"
PROOFS = "proofs"  # of converted.py: a folder that a worker adds
# The manifest changes with the time and the version of packing. Python adds byte code where it can write.
LEFT_OUT = ("MAR-INF", "__pycache__")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digests(directory: Path) -> dict[str, str]:
    """The SHA-256 of each file of an unpacked archive, by its name, without the manifest and byte code."""
    names = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    kept = (name for name in names if not set(name.parts) & set(LEFT_OUT) and name.parts[0] != PROOFS)
    return {name.as_posix(): sha256(directory / name) for name in kept}


def contents_sha256(digests: Mapping[str, str]) -> str:
    """SHA-256 of what `sha256sum` prints for the files in the order of their names."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def read_metadata(directory: Path) -> dict[str, Any]:
    """metadata.json is written by build_archive; an archive made by hand may lack it."""
    path = directory / METADATA_FILE
    if not path.exists():
        return {}
    metadata = read_json(path, "a JSON object")
    if not isinstance(metadata, dict):
        raise LoadError(path, "expected a JSON object")
    return metadata


def weights_sha256(directory: Path, digests: Mapping[str, str], metadata: Mapping[str, Any]) -> str:
    """The digest of the weights. Raises LoadError if they are missing, or if the metadata names another digest."""
    path = directory / WEIGHTS_FILE
    digest = digests.get(WEIGHTS_FILE)
    if digest is None:
        raise LoadError(path, "missing, expected the weights as safetensors")
    expected = metadata.get("weights_sha256", digest)
    if digest != expected:
        raise LoadError(path, f"SHA-256 {digest}, expected {expected} as in {METADATA_FILE}")
    return digest
