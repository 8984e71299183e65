#!/usr/bin/env python3
"""Measures the size of an image, layer by layer and library by library: unpacked, as gzip and as zstd.

Prints the tables of docs/performance.md. Needs a container engine's client, tar, gzip and zstd, and takes minutes.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

GZIP, ZSTD = ("gzip", "-6"), ("zstd", "-q", "-T0", "-3")
LARGE = 20_000_000  # bytes; smaller libraries share one row


@dataclass(frozen=True)
class Weight:
    """Sizes in bytes."""

    name: str
    unpacked: int
    gzip: int
    zstd: int

    def __str__(self) -> str:
        return f"| {self.name} | {self.unpacked / 1e6:.1f} | {self.gzip / 1e6:.1f} | {self.zstd / 1e6:.1f} |"


def compressed(command: tuple[str, ...], source: subprocess.Popen[bytes] | Path) -> int:
    """The compressed size, in bytes, of a file or of a process's output."""
    stdin = source.open("rb") if isinstance(source, Path) else source.stdout
    assert stdin is not None
    with stdin, subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE) as compressor:
        assert compressor.stdout is not None
        total = 0
        while piece := compressor.stdout.read(1 << 20):
            total += len(piece)
    return total


def weigh_layers(saved: Path, skip: int) -> list[Weight]:
    """The layers after the first `skip`, which are the base's. saved: what `docker save` wrote, unpacked."""
    manifest = json.loads((saved / "manifest.json").read_text())[0]
    config = json.loads((saved / manifest["Config"]).read_text())
    made_by = [step.get("created_by", "") for step in config["history"] if not step.get("empty_layer")]
    weights = []
    for layer, command in list(zip(manifest["Layers"], made_by, strict=True))[skip:]:
        path = saved / layer
        name = command.removeprefix("COPY ").removeprefix("RUN /bin/bash -euo pipefail -c ").split(" # ")[0]
        shown = f"`{name[:60]}`"
        weights.append(Weight(shown, path.stat().st_size, compressed(GZIP, path), compressed(ZSTD, path)))
    return weights


def weigh_libraries(saved: Path, skip: int, unpacked: Path) -> list[Weight]:
    """The files of the same layers: each large library by its name, the others by package. unpacked: an empty directory
    to unpack them in."""
    manifest = json.loads((saved / "manifest.json").read_text())[0]
    groups: dict[str, list[str]] = defaultdict(list)
    sizes: dict[str, int] = defaultdict(int)
    for layer in manifest["Layers"][skip:]:
        with tarfile.open(saved / layer) as tar:
            for member in tar:
                if member.isfile():
                    group = group_of(member.name, member.size)
                    groups[group].append(member.name)
                    sizes[group] += member.size
            tar.extractall(unpacked, filter="tar")
    small = [group for group in groups if sizes[group] < LARGE]
    for group in small:
        groups["everything else"] += groups.pop(group)
        sizes["everything else"] += sizes.pop(group)
    weights = []
    for group in sorted(groups, key=lambda group: -sizes[group]):
        files = unpacked / ".files"
        files.write_text("\n".join(groups[group]))
        pack = ("tar", "--create", "--directory", str(unpacked), "--files-from", str(files))
        gzip, zstd = (compressed(tool, subprocess.Popen(pack, stdout=subprocess.PIPE)) for tool in (GZIP, ZSTD))
        weights.append(Weight(group, sizes[group], gzip, zstd))
    return weights


def group_of(file: str, size: int) -> str:
    """The row of a file: a large shared library has its own, byte code shares one, and the rest is by package."""
    path = PurePosixPath(file)
    if path.suffix == ".pyc":
        return "byte code"
    if ".so" in path.name and size >= LARGE:
        return path.name.split(".so")[0]
    if "site-packages" in path.parts:
        return path.parts[path.parts.index("site-packages") + 1].split(".libs")[0]
    return "Java" if file.startswith("opt/java") else "Debian and the project"


def _print(weights: list[Weight]) -> None:
    print("| | MB unpacked | gzip -6 | zstd -3 |\n|---|---|---|---|")
    print("\n".join(map(str, weights)))
    unpacked, gzip, zstd = (sum(getattr(weight, kind) for weight in weights) for kind in ("unpacked", "gzip", "zstd"))
    print(Weight("**in all**", unpacked, gzip, zstd), "\n", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--base", required=True, help="the image's base, whose layers are left out")
    parser.add_argument("--docker", default="docker", help="the engine's client (default: %(default)s)")
    arguments = parser.parse_args()
    inspect = (arguments.docker, "image", "inspect", "--format", "{{len .RootFS.Layers}}", arguments.base)
    skip = int(subprocess.run(inspect, check=True, capture_output=True).stdout)
    with tempfile.TemporaryDirectory() as directory:
        saved, unpacked = Path(directory, "saved"), Path(directory, "unpacked")
        saved.mkdir()
        unpacked.mkdir()
        with subprocess.Popen((arguments.docker, "save", arguments.image), stdout=subprocess.PIPE) as save:
            subprocess.run(("tar", "--extract", "--directory", saved), stdin=save.stdout, check=True)
        _print(weigh_layers(saved, skip))
        _print(weigh_libraries(saved, skip, unpacked))
    return 0


if __name__ == "__main__":
    sys.exit(main())
