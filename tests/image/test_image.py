"""What is in the image, and what is not."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from containers import DOCKER, HARDENED, docker, mounted
from samples import PATIENCE

from scripts.paths import ROOT

# What a library is linked to and nowhere to be found. libcuda is the driver's and comes with the GPU. The path is
# needed since some libraries lean on torch having been loaded before them.
MISSING = r"""
libraries=$(find /home/appuser/.local /usr/lib -name '*.so*' -type f)
export LD_LIBRARY_PATH=$(dirname $libraries | sort -u | paste -sd :)
for library in $libraries; do
    ldd "$library" 2>/dev/null | grep 'not found' | sed "s|^|$(basename "$library"):|"
done | grep -v 'libcuda\.so\.1' | sort -u
"""


def _run(image: str, *command: str, options: tuple[str | Path, ...] = ()) -> str:
    return docker("run", "--rm", *options, image, *command)


def test_configuration(image: str) -> None:
    config = json.loads(docker("image", "inspect", image))[0]["Config"]
    assert config["User"] == "1000:1000"
    assert config["WorkingDir"] == "/app"
    assert set(config["Volumes"]) == {"/app/models", "/app/logs", "/home/appuser/.cache"}
    assert set(config["ExposedPorts"]) == {"8080/tcp"}
    health = config["Healthcheck"]
    second = 1_000_000_000
    assert [health[key] / second for key in ("Interval", "Timeout", "StartPeriod")] == [30, 10, 60]
    assert health["Retries"] == 3
    environment = dict(pair.split("=", 1) for pair in config["Env"])
    assert environment["PATH"].startswith("/home/appuser/.local/bin:")
    assert environment["PYTHONUNBUFFERED"] == "1"
    assert environment["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


def test_who_runs(image: str) -> None:
    assert _run(image, "whoami") == "appuser"
    assert _run(image, "id") == "uid=1000(appuser) gid=1000(appuser) groups=1000(appuser)"


@pytest.mark.parametrize(
    ("flavour", "versions"), [("official", ["3.11", "2.4.0"]), ("slim", ["3.12", "2.6.0", "12.4"])]
)
def test_versions(images: dict[str, str], flavour: str, versions: list[str]) -> None:
    """The official flavour's CUDA is its base's: 12.4 in the real one, which a stand-in need not have."""
    program = "import sys, torch; print(sys.version.split()[0], torch.__version__, torch.version.cuda, torch.__file__)"
    python, torch_version, cuda, path = _run(images[flavour], "python", "-c", program).split()
    for version, found in zip(versions, (python, torch_version, cuda), strict=False):
        assert found.startswith(version)
    assert path.startswith("/home/appuser" if flavour == "slim" else "/opt/conda"), "the base's torch is used as it is"


def test_a_device_can_be_checked_in_it(image: str, store: Path) -> None:
    """In the trimmed image everything that inference needs is there: on a GPU by the same command with cuda."""
    command = ("python", "scripts/check_device.py", "--device", "cpu", "--model-store", "models")
    said = _run(image, *command, options=(*mounted(store), *HARDENED))
    assert "ok  cat-breeds 1.0: golden inputs" in said
    assert said.count("ok  ") == 6
    without_a_gpu = subprocess.run(
        [DOCKER, "run", "--rm", image, "python", "scripts/check_device.py"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert without_a_gpu.returncode == 1
    assert "torch sees no GPU" in without_a_gpu.stderr


def test_every_library_that_another_is_linked_to_is_there(images: dict[str, str]) -> None:
    assert _run(images["slim"], "bash", "-c", MISSING) == ""


def test_an_archive_can_be_built_in_it(image: str, tmp_path: Path, tiny_checkpoint: Path) -> None:
    """Whoever has the image needs nothing else to package a checkpoint."""
    tmp_path.chmod(0o777)
    (tmp_path / "tiny.pt").write_bytes(tiny_checkpoint.read_bytes())
    command = ("python", "scripts/build_archive.py", "--checkpoint", "/data/tiny.pt", "--name", "tiny")
    _run(image, *command, "--output", "/data/tiny.mar", options=("--volume", f"{tmp_path}:/data"))
    assert (tmp_path / "tiny.mar").stat().st_size > 100_000


def test_java_is_a_small_runtime(image: str) -> None:
    assert 'version "17' in _run(image, "bash", "-c", "java -version 2>&1")
    megabytes = int(_run(image, "du", "-sm", "/opt/java").split()[0])
    assert 20 < megabytes < 80


def test_nothing_can_gain_rights(image: str) -> None:
    assert _run(image, "find", "/", "-xdev", "-type", "f", "-perm", "/6000", options=("--user", "0")) == ""
    writable = _run(image, "find", "/app", "/home/appuser/.local", "/opt/java", "-writable", "-not", "-type", "l")
    assert set(writable.split()) == {"/app/models", "/app/logs", "/app/state"}


def test_no_tools_tests_or_secrets(image: str) -> None:
    command = "ls -A /app; ls -A /home/appuser; ls /tmp; command -v gcc curl wget git || true"
    found = set(_run(image, "bash", "-c", command).split())
    app = {
        "config.properties",
        "image",
        "frontend",
        "handler",
        "scripts",
        "models",
        "logs",
        "state",
        "sbom.cdx.json",
    }
    assert found <= app | {".bash_logout", ".bashrc", ".profile", ".local", ".cache"}
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
    assert not re.search(r"token|password|secret|://[^ ]*@", history, re.I)


@pytest.mark.parametrize(("flavour", "torch_version"), [("official", "2.4.0"), ("slim", "2.6.0")])
def test_the_bill_of_materials_says_what_is_in_it(images: dict[str, str], flavour: str, torch_version: str) -> None:
    bill = json.loads(_run(images[flavour], "cat", "sbom.cdx.json"))
    purls = {each["purl"].split("?")[0] for each in bill["components"] if "purl" in each}
    assert f"pkg:pypi/torch@{torch_version}" in {purl.split("%2B")[0] for purl in purls}
    assert {"pkg:pypi/torchserve@0.12.0", "pkg:maven/io.netty/netty-all@4.1.53.Final"} <= purls
    for wanted in (r"pkg:generic/openjdk@17", r"pkg:deb/\w+/haproxy@", r"pkg:deb/\w+/libc6@"):
        assert any(re.match(wanted, purl) for purl in purls), wanted
    assert not any("cyclonedx" in purl for purl in purls), "what wrote the bill is not in the image"


def test_the_context_is_what_the_build_needs(container_engine: None, tmp_path: Path) -> None:
    """What .dockerignore lets in, as the engine itself sees it."""
    file = tmp_path / "Dockerfile"
    file.write_text("FROM scratch\nCOPY . /\n")
    decoys = [ROOT / "handler" / "decoy.pt", ROOT / "scripts" / ".env", ROOT / "decoy.txt"]
    for decoy in decoys:
        decoy.touch()
    try:
        subprocess.run(
            [DOCKER, "build", "--quiet", "--file", file, "--output", tmp_path / "context", ROOT],
            check=True,
            capture_output=True,
            timeout=PATIENCE,
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
        )
    finally:
        for decoy in decoys:
            decoy.unlink()
    found = {path.relative_to(tmp_path / "context") for path in (tmp_path / "context").rglob("*") if path.is_file()}
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "frontend", "handler", "scripts", "image"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    named = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("scripts/")]
    assert all((ROOT / name).exists() for name in named)
    wanted = {name for name in tracked if not any(name == each or name.startswith(f"{each}/") for each in named)}
    assert {str(path) for path in found} == {*wanted, "config.properties"}
