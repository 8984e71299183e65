"""Scraping the real endpoint after known traffic."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from samples import CATS, CHELSEA, COFFEE, PATIENCE, Send, wait_for

from handler.metrics import METRICS
from scripts.server.torchserve import TorchServe

DEMO = {"model_name": "cat-breeds", "model_version": "1.0"}


def scrape(server: TorchServe) -> list[Sample]:
    text = requests.get(f"{server.metrics}/metrics", timeout=PATIENCE).text
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def _value(samples: list[Sample], name: str, **labels: str) -> float:
    return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())


@pytest.fixture
def scraped(server: TorchServe, send: Send) -> Callable[[], list[Sample]]:
    def refused() -> float:
        return _value(scrape(server), "classifier_requests_total", code="bad_json", **DEMO)

    def scraped() -> list[Sample]:
        """All samples when what has been answered is counted: the counting follows the answers, in their order, so a
        last refusal is waited for."""
        before = refused()
        send(data=b"{", headers={"Content-Type": "application/json"})
        wait_for(lambda: refused() > before)
        return scrape(server)

    return scraped


def test_known_traffic_is_counted(send: Send, scraped: Callable[[], list[Sample]]) -> None:
    before = scraped()

    def risen(name: str, **labels: str) -> float:
        return _value(after, name, **DEMO, **labels) - _value(before, name, **DEMO, **labels)

    wanted: list[dict[str, Any]] = [
        {"data": CHELSEA, "headers": {"X-Request-Start": str(int(time.time() * 1000) - 200)}},
        {"files": {"image1": COFFEE, "image2": CHELSEA}},
        {"data": b"no image"},
        {"data": CHELSEA, "headers": {"X-Threshold": "7"}},
    ]
    for each in wanted:
        send(**each)
    after = scraped()

    assert risen("classifier_requests_total", code="ok") == 2
    assert risen("classifier_requests_total", code="not_an_image") == 1
    assert risen("classifier_requests_total", code="bad_option") == 1
    assert risen("classifier_images_total", code="ok") == 3
    assert risen("classifier_images_total", code="not_an_image") == 1
    assert {label: risen("classifier_labels_total", label=label) for label in CATS} == dict.fromkeys(CATS, 2)
    assert risen("classifier_labels_total") == 2 * len(CATS)
    assert risen("classifier_fallbacks_total") == 1
    assert risen("classifier_decode_seconds_count") == 4
    assert risen("classifier_preprocess_seconds_count") == 3
    assert risen("classifier_inference_seconds_count") == 2
    assert risen("classifier_postprocess_seconds_count") == 5  # the last refusal, too
    assert risen("classifier_batch_images_sum") == 3
    assert risen("classifier_top_score_count") == 3
    assert risen("classifier_top_score_bucket", le="0.75") == 1
    assert risen("classifier_queue_seconds_count") == 1
    assert risen("classifier_queue_seconds_sum") >= 0.2
    for stage in ("decode", "preprocess", "inference", "postprocess"):
        assert risen(f"classifier_{stage}_seconds_sum") > 0


def test_each_metric_is_there_before_the_first_request_or_after_it(scraped: Callable[[], list[Sample]]) -> None:
    samples = scraped()
    names = {each.name.removesuffix("_count") for each in samples}
    counters = {name for name, (kind, _, _) in METRICS.items() if kind == "COUNTER"}
    assert counters <= {each.name for each in samples if each.labels.get("model_name") == "vit"}
    assert set(METRICS) <= names


def test_no_client_makes_the_series_grow(server: TorchServe, send: Send, scraped: Callable[[], list[Sample]]) -> None:
    def series() -> set[tuple[str, ...]]:
        return {(each.name, *sorted(each.labels.values())) for each in scrape(server)}

    def nuisance(index: int) -> None:
        name = f"client{index},x:y|#z"
        send(files={name: b"x"}, headers={"X-Top-K": name, "User-Agent": name, f"X-{index}": name})
        send(json={name: name, "image": name})
        send(f"/predictions/cat-breeds/1.0/{index}", data=CHELSEA)
        send(f"/predictions/{index}", data=CHELSEA)
        requests.request(f"M{index}", server.inference, timeout=PATIENCE)

    def sent(indices: range) -> set[tuple[str, ...]]:
        for index in indices:
            nuisance(index)
        scraped()
        return series()

    before = sent(range(1))
    assert sent(range(1, 30)) - before == set()
