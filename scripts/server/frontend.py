"""The settings of TorchServe's front end, from config.properties and the TS_ variables that override it. Settings that
would expose the management API are refused."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

# The container's working directory for sockets, tokens and unpacked archives.
HOME = Path("/tmp/torchserve")  # noqa: S108
JAVA_GRACE = 5  # seconds that Java may take to stop; measured: 2.4


class FrontEndError(Exception):
    """Settings that clash or are unreadable; the message names them."""


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    @classmethod
    def parse(cls, key: str, text: str) -> Self:
        """Reads `http://HOST:PORT`. TLS must be terminated before this server."""
        match = re.fullmatch(r"http://([^:/]+):(\d{1,5})", text)
        if match is None or not 0 < int(match[2]) < 65535:
            raise FrontEndError(f"{key}: {text}, expected http://HOST:PORT")
        return cls(match[1], int(match[2]))

    @property
    def loopback(self) -> bool:
        """Whether the host is an address of the loopback interface; a name that begins with 127 may be any host."""
        return self.host == "localhost" or re.fullmatch(r"127(\.\d{1,3}){3}", self.host) is not None

    @property
    def url(self) -> str:
        """The URL for a process on the same machine."""
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
    max_response_size: int  # bytes
    job_queue_size: int  # requests that may wait for a model, unless its archive has another number
    request_timeout: int  # seconds that a request may take, including its time in the queue
    body_timeout: int  # seconds that a body may take to arrive
    strict_store: bool  # whether a broken file in the model store stops the start
    stop_grace: int  # most seconds from SIGTERM to the end
    cors_origins: tuple[str, ...] = ()  # whose pages browsers let read the answers

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
        for port in ports.values():
            same = [other for other in ports if ports[other] == port]
            if len(same) > 1:
                raise FrontEndError(f"{' and '.join(same)} have one port, {port}, expected a different port for each")


def read_front_end(config: Path, environment: Mapping[str, str]) -> FrontEnd:
    """Raises FrontEndError. As in TorchServe, a variable TS_KEY overrides the file."""
    settings = _read_properties(config)
    settings |= {name[3:].lower(): value for name, value in environment.items() if name.startswith("TS_")}

    def grpc(kind: str, port: str) -> Address:
        host = settings.get(f"grpc_{kind}_address", "127.0.0.1")
        return Address.parse(f"grpc_{kind}_port", f"http://{host}:{settings.get(f'grpc_{kind}_port', port)}")

    def number(key: str, default: int, what: str) -> int:
        text = settings.get(key, str(default))
        if not text.isdigit():
            raise FrontEndError(f"{key}: {text}, expected a number of {what}")
        return int(text)

    def seconds(variable: str, default: int, least: int) -> int:
        text = environment.get(variable, str(default))
        if not text.isdigit() or int(text) < least:
            raise FrontEndError(f"{variable}: {text}, expected whole seconds, {least} or more")
        return int(text)

    check = environment.get("STORE_CHECK", "lenient")
    if check not in ("strict", "lenient"):
        raise FrontEndError(f"STORE_CHECK: {check}, expected strict or lenient")
    return FrontEnd(
        Address.parse("inference_address", settings.get("inference_address", "http://127.0.0.1:8080")),
        Address.parse("management_address", settings.get("management_address", "http://127.0.0.1:8081")),
        Address.parse("metrics_address", settings.get("metrics_address", "http://127.0.0.1:8082")),
        grpc("inference", "7070"),
        grpc("management", "7071"),
        tokens=settings.get("disable_token_authorization", "false").lower() != "true",
        max_request_size=number("max_request_size", 6_553_500, "bytes"),
        max_response_size=number("max_response_size", 6_553_500, "bytes"),
        job_queue_size=number("job_queue_size", 100, "requests"),
        request_timeout=seconds("REQUEST_TIMEOUT", 120, least=1),
        body_timeout=seconds("BODY_TIMEOUT", 60, least=1),
        strict_store=check == "strict",
        stop_grace=seconds("STOP_GRACE", 30, least=JAVA_GRACE),
        cors_origins=_origins(environment.get("CORS_ORIGINS", "")),
    )


def _origins(text: str) -> tuple[str, ...]:
    """As browsers write them in the header Origin, apart by blanks. Raises FrontEndError."""
    origins = tuple(text.split())
    for origin in origins:
        if not re.fullmatch(r"https?://[a-z0-9.-]+(:\d{1,5})?", origin):
            raise FrontEndError(
                f"CORS_ORIGINS: {origin}, expected origins such as https://app.example, apart by blanks"
            )
    return origins


def _read_properties(path: Path) -> dict[str, str]:
    """The `key=value` lines of a Java properties file. Raises FrontEndError for what Java would read in another way:
    escapes, continued lines, other separators, and $$NAME$$, which TorchServe replaces by a variable."""
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
