"""TorchServe's own settings: the top level of model-config.yaml, beside the handler's section."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import yaml

from handler.errors import LoadError
from handler.sections import bounded, read_section
from handler.settings import CONFIG_FILE, Settings, read_config

# The variable by which TorchServe learns how many workers a model gets that doesn't say so; they read it, too.
DEFAULT_WORKERS = "TS_DEFAULT_WORKERS_PER_MODEL"


@dataclass(frozen=True)
class ServerSettings:
    # None: as many as the machine has room for (scripts/server/budget.py).
    minWorkers: int | None = bounded(None, 1, 1024)
    maxWorkers: int | None = bounded(None, 1, 1024)
    batchSize: int = bounded(8, 1, 1024)  # requests that are classified together, at the most
    # Milliseconds that an idle worker waits for more; 0 would be TorchServe's default, 100.
    maxBatchDelay: int = bounded(1, 1, 60_000)
    responseTimeout: int = bounded(30, 1, 3600)  # seconds until a silent worker is restarted
    startupTimeout: int = bounded(300, 1, 3600)  # seconds that a worker may take to load
    deviceType: Literal["cpu", "gpu"] | None = None
    deviceIds: list[int] | None = None
    jobQueueSize: int | None = bounded(None, 1, 100_000)
    maxRetryTimeoutInSec: int | None = bounded(None, 1, 86_400)
    clientTimeoutInMills: int | None = bounded(None, 0, 86_400_000)

    def __post_init__(self) -> None:
        least, most = self.minWorkers, self.maxWorkers
        if least is None or most is None:
            if least != most:
                raise LoadError(
                    CONFIG_FILE,
                    f"minWorkers: {least}, maxWorkers: {most}, expected both or neither: TorchServe ignores one alone",
                )
        elif least > most:
            raise LoadError(CONFIG_FILE, f"minWorkers: {least}, expected at most maxWorkers, {most}")


def read_server_settings(directory: Path) -> ServerSettings:
    """Reads those of an unpacked archive. Raises LoadError."""
    path = directory / CONFIG_FILE
    server = {key: value for key, value in read_config(path).items() if key != "handler"}
    return read_section(ServerSettings, server, path)


def write_settings(path: Path, settings: Settings, server: ServerSettings) -> None:
    """Writes a model-config.yaml that holds both."""
    config = {key: value for key, value in asdict(server).items() if value is not None}
    path.write_text(yaml.safe_dump({**config, "handler": asdict(settings)}, sort_keys=False))
