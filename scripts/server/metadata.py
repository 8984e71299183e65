"""The process for metadata (scripts/server/metadata_app.py) as a child. Classification goes past it."""

import subprocess
import sys
from pathlib import Path

from scripts.paths import ROOT
from scripts.server.client import KEY_FILE
from scripts.server.frontend import FrontEnd
from scripts.server.process_group import start_group


class Metadata:
    """Holds nothing that could be lost, and nobody asks it any more when haproxy has stopped: so it is killed."""

    def __init__(self, front: FrontEnd, socket: Path, home: Path, console: Path | None = None) -> None:
        """socket: on which it listens. home: where TorchServe writes its tokens.
        console: the file for what it prints, by default this process's console."""
        module = "scripts.server.metadata_app"
        addresses = [str(socket), front.inference.url, front.management.url, str(home / KEY_FILE)]
        self._command = [sys.executable, "-m", module, *addresses]
        self._console = console
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = start_group(self._command, ROOT, self._console)

    def ended(self) -> int | None:
        """The exit code, or None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def stop(self, grace: float) -> bool:  # noqa: ARG002
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
        return True
