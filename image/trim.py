#!/usr/bin/env python3
"""Takes out of a site-packages directory the files that serving never uses, and prints the bytes that each cut saved.

Nothing that stays links to, imports or opens the files of a "safe" cut: tests/image checks that on a CPU by resolving
every library and by classifying. A "hoped" cut takes files that CUDA might still open at run time, which only a GPU can
show (docs/performance.md): it is made only if the image is built with TRIM=hoped.
"""

import argparse
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Level = Literal["safe", "hoped"]


@dataclass(frozen=True)
class Cut:
    level: Level
    pattern: str  # of paths in site-packages
    reason: str
    strip: bool = False  # only remove the symbols
    keep: tuple[str, ...] = ()  # names that stay although the pattern matches them


CUTS = (
    Cut("safe", "triton*", "compiles kernels for torch.compile, which the handler does not call"),
    Cut("safe", "torch/include", "C++ headers: nothing is compiled here"),
    Cut("safe", "torch/share", "CMake's files"),
    Cut("safe", "torch/bin/*", "protoc", keep=("torch_shm_manager",)),
    Cut("safe", "torch/lib/libtorch_cpu.so", "symbols, which only a debugger reads", strip=True),
    Cut("safe", "nvidia/*/include", "C headers"),
    Cut("safe", "nvidia/cusolver/lib/libcusolverMg.so*", "dense solvers on several GPUs; nothing links to it"),
    Cut("safe", "nvidia/cublas/lib/libnvblas.so*", "replaces a CPU's BLAS; nothing links to it"),
    Cut("safe", "nvidia/cuda_cupti/lib/*", "profiling hosts; torch links to libcupti alone", keep=("libcupti.so.12",)),
    Cut("safe", "hf_xet*", "downloads from a hub; the server has no network"),
    Cut("safe", "openvino/libs/libopenvino_intel_[gn]pu_plugin.so", "Intel's graphics cards and NPUs"),
    Cut("safe", "openvino/libs/cache.json", "of the plugin for graphics cards"),
    Cut("safe", "openvino/libs/libopenvino_[!ip]*_frontend.so*", "read other formats than its own and torch's"),
    Cut("safe", "openvino/frontend/*/py_[!p]*.so", "link to these"),
    Cut("safe", "openvino/include", "C++ headers: nothing is compiled here"),
    Cut("safe", "openvino_telemetry*", "reports imports to the maker's statistics"),
    Cut("safe", "scipy/**/tests", "its own tests"),
    Cut("safe", "sympy/**/tests", "its own tests"),
    Cut("safe", "networkx/**/tests", "its own tests"),
    Cut("hoped", "nvidia/cudnn/lib/libcudnn_adv.so*", "recurrent networks and cuDNN's attention"),
    Cut("hoped", "torch/lib/libtorch_cuda_linalg.so", "torch.linalg on a GPU, opened when first called"),
    Cut("hoped", "nvidia/cusolver", "only libtorch_cuda_linalg links to it"),
    Cut("hoped", "torch/lib/libtorch_cuda.so", "symbols, which only a debugger reads", strip=True),
)


def trim(site_packages: Path, level: Level) -> int:
    """Makes the cuts up to `level` and returns the bytes saved. A pattern may match nothing: the official base keeps
    torch elsewhere."""
    total = 0
    for cut in CUTS:
        if cut.level == "hoped" and level == "safe":
            continue
        paths = [path for path in sorted(site_packages.glob(cut.pattern)) if path.name not in cut.keep]
        saved = sum(_strip(path) if cut.strip else _remove(path) for path in paths)
        total += saved
        print(f"{cut.level:5}  {saved / 1e6:7.1f} MB  {cut.pattern:42} {cut.reason}")
    print(f"       {total / 1e6:7.1f} MB  in all")
    return total


def size(path: Path) -> int:
    """The bytes of a file, or of all files below a directory."""
    if path.is_dir() and not path.is_symlink():
        return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
    return path.lstat().st_size if path.exists() else 0  # an earlier cut may have removed its directory


def _remove(path: Path) -> int:
    before = size(path)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return before


def _strip(path: Path) -> int:
    before = size(path)
    subprocess.run(["strip", "--strip-unneeded", path], check=True)
    return before - size(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("site_packages", type=Path)
    parser.add_argument("--level", choices=("none", "safe", "hoped"), default="safe")
    arguments = parser.parse_args()
    if arguments.level != "none":
        trim(arguments.site_packages, arguments.level)
    return 0


if __name__ == "__main__":
    sys.exit(main())
