"""deploy/ against promtool, the real Prometheus and the real server's metrics. Prometheus is Debian's package of that
name; what needs it is skipped where it is missing."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from PIL import Image
from samples import CHELSEA, PATIENCE, Send, free_ports, wait_for

from scripts.paths import ROOT
from scripts.server.torchserve import TorchServe

DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "dashboard.json").read_text(encoding="utf-8"))
ALERTS = [rule for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
WORDS = {"by", "unless", "offset", "up"}


def _metrics(query: str) -> set[str]:
    """The names of the metrics in a query."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)|offset \w+|\b[\d.e]+\b", " ", query)
    return set(re.findall(r"\b[A-Za-z_]\w*\b(?!\s*\()", bare)) - WORDS


def test_metric_names_are_found_in_a_query() -> None:
    query = 'sum by (le) (rate(a_bucket{le="x"}[5m] offset 1w)) / Requests5XX > 0.01 unless up{job="y"} == 0'
    assert _metrics(query) == {"a_bucket", "Requests5XX"}


@pytest.fixture(scope="module")
def asked(server: TorchServe, send: Send) -> TorchServe:
    """The server, after requests with a proxy's header: each kind of metric is there."""
    for _ in range(3):
        assert send(data=CHELSEA, headers={"X-Request-Start": "0"}).status_code == 200
    return server


def _exposed(server: TorchServe) -> set[str]:
    text = requests.get(f"{server.metrics}/metrics", timeout=PATIENCE).text
    exposed = set(re.findall(r"^# TYPE (\w+) (?:gauge|counter)", text, re.M))
    for histogram in re.findall(r"^# TYPE (\w+) histogram", text, re.M):
        exposed |= {f"{histogram}_{part}" for part in ("bucket", "sum", "count")}
    return exposed


def test_the_server_exposes_what_is_asked(asked: TorchServe) -> None:
    wanted = set().union(*map(_metrics, [*QUERIES, *(rule["expr"] for rule in ALERTS)]))
    # haproxy answers this one, which stands before what is asked here (tests/live/test_serve.py).
    assert "classifier_store_broken_files" in wanted
    wanted.remove("classifier_store_broken_files")
    wait_for(lambda: "classifier_queue_seconds_sum" in _exposed(asked))  # the counting follows the answers
    assert wanted - _exposed(asked) == set()


def test_each_alert_says_what_to_do() -> None:
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS) == 11
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "action"}


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        assert panel["description"]
        taken |= cells


def _program(name: str) -> str:
    if (found := shutil.which(name)) is None:
        pytest.skip(f"{name} is not installed (Debian's package prometheus)")
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml", "alerts_week_test.yml"],
    ],
)
def test_promtool(arguments: list[str]) -> None:
    command = [_program("promtool"), *arguments]
    done = subprocess.run(command, cwd=DEPLOY, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def prometheus(asked: TorchServe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real one, with deploy/prometheus.yml but for the address and how often it looks."""
    program, home, port = _program("prometheus"), tmp_path_factory.mktemp("prometheus"), free_ports().inference
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(DEPLOY / "alerts.yml")]
    [job] = [job for job in config["scrape_configs"] if job["job_name"] == "classifier"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{asked.ports.metrics}"]}]
    config["scrape_configs"] = [job]  # haproxy, which answers the others, doesn't stand before this server
    (home / "prometheus.yml").write_text(yaml.safe_dump(config))
    options = {
        "--config.file": home / "prometheus.yml",
        "--storage.tsdb.path": home / "data",
        "--web.listen-address": f"127.0.0.1:{port}",
    }
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([program, *(f"{name}={value}" for name, value in options.items())], stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"

        def counted() -> bool:
            try:
                return bool(_ask(url, "query", query="classifier_requests_total")["result"])
            except requests.RequestException:  # not there yet, or starting
                return False

        wait_for(counted)
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _ask(url: str, what: str, **arguments: str) -> dict[str, Any]:
    answer = requests.get(f"{url}/api/v1/{what}", params=arguments, timeout=PATIENCE).json()
    assert answer["status"] == "success", answer
    return dict(answer["data"])


def test_prometheus_scrapes_and_evaluates(prometheus: str) -> None:
    [target] = _ask(prometheus, "query", query='up{job="classifier"}')["result"]
    assert target["value"][1] == "1"
    wait_for(lambda: all(rule["health"] == "ok" for rule in _rules(prometheus)))
    assert {rule["name"] for rule in _rules(prometheus)} == {rule["alert"] for rule in ALERTS}
    assert [rule["name"] for rule in _rules(prometheus) if rule["state"] == "firing"] == []


def _rules(prometheus: str) -> list[dict[str, Any]]:
    return [rule for group in _ask(prometheus, "rules")["groups"] for rule in group["rules"]]


def test_the_dashboard_can_be_drawn_without_grafana(prometheus: str, tmp_path: Path) -> None:
    picture = tmp_path / "dashboard.png"
    script = str(ROOT / "deploy" / "draw_dashboard.py")
    command = [sys.executable, script, "--prometheus", prometheus, "--minutes", "1", "--output", str(picture)]
    subprocess.run(command, check=True, timeout=PATIENCE)
    with Image.open(picture) as image:
        assert min(image.size) > 1000
