#!/usr/bin/env python3
"""Writes the image's software bill of materials (CycloneDX 1.6, JSON): Python and Debian packages, the Java runtime and
the libraries in TorchServe's jar. The image's build runs it in the image."""

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

# TorchServe's jar does not list its libraries: its build removes META-INF/maven. These are named in
# frontend/gradle.properties and the build.gradle files of v0.12.0; their own dependencies are not listed.
JAR_SHA256 = "ce340411ce54beaacd3dcfa31644a9aa369a83a36ed687172ba1088a13123dfe"
JAR = (
    "com.google.code.gson/gson@2.9.0",
    "com.lmax/disruptor@3.4.4",
    "commons-cli/commons-cli@1.3.1",
    "commons-io/commons-io@2.16.1",
    "io.grpc/grpc-netty-shaded@1.50.0",
    "io.grpc/grpc-protobuf@1.50.0",
    "io.grpc/grpc-stub@1.50.0",
    "io.netty/netty-all@4.1.53.Final",
    "io.prometheus/simpleclient@0.9.0",
    "io.prometheus/simpleclient_servlet@0.9.0",
    "org.apache.commons/commons-compress@1.25.0",
    "org.apache.logging.log4j/log4j-core@2.17.1",
    "org.apache.logging.log4j/log4j-slf4j-impl@2.17.1",
    "org.codehaus.groovy/groovy-all@3.0.9",
    "org.pytorch/torchserve-plugins-sdk@0.0.5",
    "org.slf4j/slf4j-api@1.7.32",
    "org.yaml/snakeyaml@2.1",
)


def python_packages() -> Iterator[Component]:
    """Those that an import finds: of two versions, the first on the path."""
    versions: dict[str, str] = {}
    for distribution in distributions():
        versions.setdefault(re.sub(r"[-_.]+", "-", distribution.name).lower(), distribution.version)
    for name, version in sorted(versions.items()):
        yield _library(PackageURL("pypi", name=name, version=version))


def debian_packages() -> Iterator[Component]:
    """Debian's or Ubuntu's packages; none without dpkg."""
    if shutil.which("dpkg-query") is None:
        return
    release = Path("/etc/os-release").read_text()
    distribution = re.findall(r"^ID=\"?(\w+)", release, re.M)[0]
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${Version} ${Architecture}\\n"]
    for line in subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines():
        name, version, architecture = line.split()
        yield _library(PackageURL("deb", distribution, name, version, {"arch": architecture}))


def java_runtime(home: Path) -> Component:
    release = (home / "release").read_text()
    version = re.findall(r'^JAVA_VERSION="(.*)"', release, re.M)[0]
    return _library(PackageURL("generic", name="openjdk", version=version), ComponentType.PLATFORM)


def jar_libraries(jar: Path) -> Iterator[Component]:
    """The jar itself and the libraries in it. Raises SystemExit if it is not the jar that JAR was written for."""
    with jar.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != JAR_SHA256:
        sys.exit(f"error: {jar}: SHA-256 {sha256}, expected that of torchserve 0.12.0; see image/sbom.py")
    yield Component(
        name=jar.name, type=ComponentType.FILE, hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)]
    )
    for coordinates in JAR:
        yield _library(PackageURL.from_string(f"pkg:maven/{coordinates}"))


def _library(purl: PackageURL, kind: ComponentType = ComponentType.LIBRARY) -> Component:
    return Component(
        name=purl.name, group=purl.namespace, version=purl.version, purl=purl, type=kind, bom_ref=purl.to_string()
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--java", type=Path, required=True, help="the Java runtime's directory")
    parser.add_argument("--jar", type=Path, required=True, help="TorchServe's model-server.jar")
    parser.add_argument("--without", type=Path, help="a directory of packages that only this script needs")
    arguments = parser.parse_args()
    if arguments.without:
        sys.path.remove(str(arguments.without))  # after the imports above, which come from there
    bom = Bom(components=[*python_packages(), *debian_packages(), java_runtime(arguments.java)])
    bom.components.update(jar_libraries(arguments.jar))
    make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_to_file(
        str(arguments.output), allow_overwrite=True, indent=1
    )
    kinds = [component.purl.type if component.purl else "file" for component in bom.components]
    print(", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
