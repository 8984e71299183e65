"""What the container's front end listens on, read from config.properties and the TS_ variables that win over it, and
refused where it would open what must not be open."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config.properties"
LOGGING, METRICS = ROOT / "frontend" / "log4j2.xml", ROOT / "frontend" / "metrics.yaml"
# The container's own: sockets, keys and unpacked archives go here.
HOME = Path("/tmp/torchserve")  # noqa: S108


class FrontEndError(Exception):
    """Settings that clash or that can't be read; the message names them."""


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    @classmethod
    def parse(cls, key: str, text: str) -> Self:
        """Reads `http://HOST:PORT`. TLS ends before this server."""
        found = re.fullmatch(r"http://([^:/]+):(\d{1,5})", text)
        if found is None or not 0 < int(found[2]) < 65535:
            raise FrontEndError(f"{key}: {text}, expected http://HOST:PORT")
        return cls(found[1], int(found[2]))

    @property
    def loopback(self) -> bool:
        """By its numbers: a name that begins with 127 may be anywhere."""
        return self.host == "localhost" or re.fullmatch(r"127(\.\d{1,3}){3}", self.host) is not None

    @property
    def url(self) -> str:
        """How a process in the same container reaches it."""
        anywhere = self.host == "0.0.0.0"  # noqa: S104
        return f"http://{'127.0.0.1' if anywhere else self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class FrontEnd:
    inference: Address
    management: Address
    metrics: Address
    grpc_inference: Address
    grpc_management: Address
    tokens: bool
    max_request_size: int  # bytes

    def __post_init__(self) -> None:
        if not self.management.loopback and not self.tokens:
            raise FrontEndError(
                f"management_address=http://{self.management} and disable_token_authorization=true clash: whoever "
                "reaches management can load code. Listen on 127.0.0.1, or set disable_token_authorization=false"
            )
        if not self.grpc_management.loopback:
            raise FrontEndError(
                f"grpc_management_address={self.grpc_management.host}, expected 127.0.0.1: nothing there checks where "
                "a model comes from. Use management_address"
            )
        ports = {
            "inference_address": self.inference.port,
            "management_address": self.management.port,
            "metrics_address": self.metrics.port,
            "grpc_inference_port": self.grpc_inference.port,
            "grpc_management_port": self.grpc_management.port,
        }
        for key, port in ports.items():
            same = [other for other in ports if ports[other] == port]
            if len(same) > 1:
                raise FrontEndError(f"{' and '.join(same)} have one port, {port}, expected a port for {key} alone")


def read_front_end(config: Path, environment: Mapping[str, str]) -> FrontEnd:
    """Raises FrontEndError. A variable TS_KEY wins over the file, as TorchServe has it."""
    settings = _read_properties(config)
    settings |= {name[3:].lower(): value for name, value in environment.items() if name.startswith("TS_")}

    def grpc(kind: str, port: str) -> Address:
        host = settings.get(f"grpc_{kind}_address", "127.0.0.1")
        return Address.parse(f"grpc_{kind}_port", f"http://{host}:{settings.get(f'grpc_{kind}_port', port)}")

    size = settings.get("max_request_size", "6553500")
    if not size.isdigit():
        raise FrontEndError(f"max_request_size: {size}, expected a number of bytes")
    return FrontEnd(
        Address.parse("inference_address", settings.get("inference_address", "http://127.0.0.1:8080")),
        Address.parse("management_address", settings.get("management_address", "http://127.0.0.1:8081")),
        Address.parse("metrics_address", settings.get("metrics_address", "http://127.0.0.1:8082")),
        grpc("inference", "7070"),
        grpc("management", "7071"),
        tokens=settings.get("disable_token_authorization", "false").lower() != "true",
        max_request_size=int(size),
    )


def _read_properties(path: Path) -> dict[str, str]:
    """The `key=value` lines of a Java properties file. What Java would read otherwise is refused: escapes, continued
    lines, other separators, and the variables that TorchServe puts in place of $$NAME$$."""
    settings = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise FrontEndError(f"{path}: can't be read ({error.strerror})") from None
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line or line[0] in "#!":
            continue
        key, equals, value = line.partition("=")
        if not equals or not re.fullmatch(r"\w+", key.strip()) or "\\" in line or "$$" in line:
            raise FrontEndError(f"{path}: line {number}: expected KEY=VALUE, without backslashes or $$")
        settings[key.strip()] = value.strip()
    return settings
