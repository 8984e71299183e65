import re

import numpy as np
import pytest
import yaml

from handler.errors import ItemError, NotAnImage
from handler.item import Outcome
from handler.job import Batch, Job
from handler.messages import Answer, Request
from handler.metric_lines import metric_line
from handler.metrics import METRICS, MODEL, batch_samples, first_samples
from handler.parser import Task
from handler.thresholds import Decision
from scripts.paths import ROOT

# TorchServe's own, from org.pytorch.serve.metrics.Metric.
LINE = re.compile(r"\[METRICS\]([\w\s]+)\.([\w\s]+):([0-9\-,.e]+)\|#([^|]*)\|#type:([^|,]+)\|#hostname:([^,]+),([^,]+)")
OUTCOME = Outcome(np.array([0.9, 0.6, 0.1], dtype=np.float32))
DIMENSIONS = {"model_name": "cats", "model_version": "1.0"}


def _parse(line: str) -> tuple[str, dict[str, str], float]:
    found = LINE.fullmatch(line.removesuffix("\n"))
    assert found, line
    pairs = [pair.split(":") for pair in found[4].split(",")]
    assert all(len(pair) == 2 for pair in pairs), line
    assert found[2] == METRICS[found[1]][1]
    assert found[5] == METRICS[found[1]][0]
    return found[1], dict(map(tuple, pairs)), float(found[3])


def _job(outcomes: list[Outcome | ItemError], code: str = "ok", queued: float | None = None) -> Job:
    decisions = tuple(Decision((0, 1), False) for outcome in outcomes if not isinstance(outcome, ItemError))
    answer = Answer(200, b"", code=code, decisions=decisions)
    job = Job(Request("id"), Task("native"), queued, outcomes=outcomes, answer=answer)
    job.seconds["decode"] = [0.25] * len(outcomes)
    return job


def test_the_front_end_knows_each_metric_with_its_dimensions_in_this_order() -> None:
    known = yaml.safe_load((ROOT / "frontend" / "metrics.yaml").read_text())["model_metrics"]
    listed = {
        each["name"]: (kind.upper(), each["unit"], tuple(each["dimensions"]))
        for kind, metrics in known.items()
        for each in metrics
    }
    assert listed == {name: (kind, unit, (*MODEL, *own)) for name, (kind, unit, own) in METRICS.items()}


def test_docs_explain_each_metric() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for name in METRICS:
        assert f"`{name}`" in text


def test_a_batch() -> None:
    batch = Batch([_job([OUTCOME, NotAnImage()], queued=0.5), _job([NotAnImage()], "not_an_image")], 0.1)
    samples = batch_samples(batch, ["tabby", "lynx", "cougar"])
    lines = [_parse(metric_line(sample, DIMENSIONS)) for sample in samples]
    counters = {(name, *list(labels.values())[2:]): value for name, labels, value in lines if name.endswith("_total")}
    assert counters == {
        ("classifier_requests_total", "ok"): 1,
        ("classifier_requests_total", "not_an_image"): 1,
        ("classifier_images_total", "ok"): 1,
        ("classifier_images_total", "not_an_image"): 2,
        ("classifier_labels_total", "tabby"): 1,
        ("classifier_labels_total", "lynx"): 1,
        ("classifier_fallbacks_total",): 0,
    }
    assert all(DIMENSIONS.items() <= labels.items() for _, labels, _ in lines)
    observed = [(name, value) for name, _, value in lines if not name.endswith("_total")]
    assert sorted(observed) == [
        ("classifier_batch_images", 1),
        *[("classifier_decode_seconds", 0.25)] * 3,
        ("classifier_inference_seconds", 0.1),
        ("classifier_queue_seconds", 0.5),
        ("classifier_top_score", pytest.approx(0.9, abs=1e-6)),
    ]


def test_a_batch_without_a_sound_image_had_no_inference() -> None:
    samples = batch_samples(Batch([_job([NotAnImage()], "not_an_image")], 0.1), ["tabby"])
    assert samples
    assert not [sample for sample in samples if "inference" in sample.name or "batch_images" in sample.name]


def test_names_that_would_break_torchserve_s_line_are_made_harmless() -> None:
    dimensions = {"model_name": "a:b|c", "model_version": "1,0#"}
    samples = first_samples(["tabby, tabby cat", "a\nb", "ünïcode", ""])
    parsed = [_parse(metric_line(sample, dimensions)) for sample in samples]
    assert parsed[0] == ("classifier_requests_total", {"model_name": "a_b_c", "model_version": "1_0_", "code": "ok"}, 0)
    labels = [labels["label"] for name, labels, _ in parsed if name == "classifier_labels_total"]
    assert labels == ["tabby_ tabby cat", "a_b", "ünïcode", "_"]


def test_tiny_numbers_are_written_so_that_java_reads_them() -> None:
    job = _job([OUTCOME])
    job.seconds["decode"] = [1e-9]
    lines = [metric_line(sample, DIMENSIONS) for sample in batch_samples(Batch([job], 0), ["a", "b", "c"])]
    assert "classifier_decode_seconds.Seconds:0.000000|" in "".join(lines)
