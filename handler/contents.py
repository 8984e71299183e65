"""What an archive holds, as one number: two archives with the same number serve the same answers."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

# The manifest says when and as which version it was packed; Python adds byte code where it can.
LEFT_OUT = ("MAR-INF", "__pycache__")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digests(directory: Path) -> dict[str, str]:
    """The SHA-256 of each file of an unpacked archive by its name in it, but for the manifest and byte code."""
    names = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return {name.as_posix(): sha256(directory / name) for name in names if not set(name.parts) & set(LEFT_OUT)}


def contents_sha256(digests: Mapping[str, str]) -> str:
    """SHA-256 of what `sha256sum` prints for the files in the order of their names."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
