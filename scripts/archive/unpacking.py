"""Unpacks an archive into a temporary directory, and lets nothing in it reach outside."""

import errno
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from handler.errors import LoadError, one_line
from scripts.archive.manifest import DAMAGED

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def unpacked(archive: Path, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[Path]:
    """A temporary directory with the files of the archive whose names are `wanted`.

    Raises LoadError if the archive is damaged, if the disk is full, or if a name in it leads out of the directory. A
    LoadError that the block raises is passed on with the archive's name before it.
    """
    with tempfile.TemporaryDirectory(prefix="mar-") as directory:
        try:
            with zipfile.ZipFile(archive) as mar:
                members = mar.infolist()
                _check_names(archive, members)
                for member in members:
                    if wanted(member.filename):
                        mar.extract(member, directory)
        except (OSError, *DAMAGED) as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                room = f"{error.strerror} in {tempfile.gettempdir()}, expected room to unpack"
                raise LoadError(archive, room) from None
            raise LoadError(archive, f"damaged: {one_line(error)}, expected a whole archive") from None
        try:
            yield Path(directory)
        except LoadError as error:
            raise LoadError(archive, str(error).removeprefix(f"{directory}/")) from None


def _check_names(archive: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    seen = set()
    for member in members:
        name = PurePosixPath(member.filename)
        if name.is_absolute() or ".." in name.parts or "\\" in member.filename or not member.filename.isprintable():
            raise LoadError(archive, f"{member.filename!r}: leads out of the archive, expected a path inside it")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise LoadError(archive, f"{member.filename!r}: a symbolic link, expected a regular file")
        if name in seen:
            raise LoadError(archive, f"{member.filename!r}: there twice, expected once")
        seen.add(name)
