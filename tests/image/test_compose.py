"""compose.yaml's service for a CPU, started by compose itself."""

import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest
import requests
from containers import DOCKER, docker
from samples import CATS, CHELSEA, PATIENCE, free_ports, wait_for

from scripts.paths import ROOT


def _compose() -> list[str]:
    """Compose as a plugin of the client, or as a program of its own."""
    for command in ([DOCKER, "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and subprocess.run([*command, "version"], capture_output=True).returncode == 0:
            return command
    pytest.skip("no compose: neither the client's plugin nor docker-compose is installed")


def test_up_and_down(images: dict[str, str], store: Path, tmp_path: Path) -> None:
    port = free_ports().inference
    project = f"mlts-test-{uuid.uuid4().hex[:8]}"
    shutil.copytree(store, tmp_path / "model_store")
    command = [*_compose(), "--project-name", project, "--project-directory", str(tmp_path)]
    command += ["--file", str(ROOT / "compose.yaml"), "--profile", "cpu"]

    def compose(*arguments: str) -> str:
        environment = {**os.environ, "PORT": str(port)}
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=PATIENCE, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    try:
        compose("up", "--detach", "--no-build", "cpu")
        container = compose("ps", "--quiet", "cpu")
        wait_for(lambda: docker("exec", container, "python", "scripts/health.py", check=False) == "healthy")
        answer = requests.post(f"http://127.0.0.1:{port}/predictions/cat-breeds", data=CHELSEA, timeout=PATIENCE)
        assert [label["name"] for label in answer.json()["labels"]] == CATS
        assert docker("inspect", "--format", "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}", container) == (
            "true [ALL]"
        )
        compose("stop", "cpu")
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container) == "0"
    finally:
        compose("down", "--volumes")
