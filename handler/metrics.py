"""What is counted and measured of each batch, whatever server shows it.

Every value of a dimension comes from the archive or from `errors`, none from a client, so that no client can make the
series grow.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from handler.errors import ItemError
from handler.job import STAGES, Batch, Job
from handler.messages import OK

Kind = Literal["COUNTER", "HISTOGRAM"]

# By name: the kind, TorchServe's name of the unit, and the dimension beside the model's name and version, if any.
METRICS: dict[str, tuple[Kind, str, tuple[str, ...]]] = {
    "classifier_requests_total": ("COUNTER", "Count", ("code",)),
    "classifier_images_total": ("COUNTER", "Count", ("code",)),
    "classifier_labels_total": ("COUNTER", "Count", ("label",)),
    "classifier_fallbacks_total": ("COUNTER", "Count", ()),
    "classifier_queue_seconds": ("HISTOGRAM", "Seconds", ()),
    "classifier_decode_seconds": ("HISTOGRAM", "Seconds", ()),
    "classifier_preprocess_seconds": ("HISTOGRAM", "Seconds", ()),
    "classifier_inference_seconds": ("HISTOGRAM", "Seconds", ()),
    "classifier_postprocess_seconds": ("HISTOGRAM", "Seconds", ()),
    "classifier_batch_images": ("HISTOGRAM", "Count", ()),
    "classifier_top_score": ("HISTOGRAM", "Score", ()),
}
MODEL = ("model_name", "model_version")


class Sample(NamedTuple):
    """An increase of a counter, or one observation of a histogram."""

    name: str
    number: float
    value: str = ""  # of the metric's own dimension, if it has one


def first_samples(labels: Sequence[str]) -> list[Sample]:
    """The counters at 0, so that a first event is an increase and not a new series."""
    known = [("classifier_requests_total", OK), ("classifier_images_total", OK), ("classifier_fallbacks_total", "")]
    known += [("classifier_labels_total", label) for label in labels]
    return [Sample(name, 0, value) for name, value in known]


def batch_samples(batch: Batch, labels: Sequence[str]) -> list[Sample]:
    """The samples of one batch. labels: the names of the classes."""
    counts: Counter[tuple[str, str]] = Counter()
    samples: list[Sample] = []
    for job in batch.jobs:
        assert job.answer is not None
        counts["classifier_requests_total", job.answer.code] += 1
        for outcome in job.outcomes:
            counts["classifier_images_total", outcome.code if isinstance(outcome, ItemError) else OK] += 1
        for decision in job.answer.decisions:
            counts["classifier_fallbacks_total", ""] += decision.fallback
            counts.update(("classifier_labels_total", labels[index]) for index in decision.labels)
        samples += _observations(job)
    if images := counts["classifier_images_total", OK]:
        samples.append(Sample("classifier_inference_seconds", batch.inference))
        samples.append(Sample("classifier_batch_images", images))
    return samples + [Sample(name, count, value) for (name, value), count in counts.items()]


def _observations(job: Job) -> list[Sample]:
    samples = [Sample(f"classifier_{stage}_seconds", seconds) for stage in STAGES for seconds in job.seconds[stage]]
    if job.queued is not None:
        samples.append(Sample("classifier_queue_seconds", job.queued))
    sound = (outcome for outcome in job.outcomes if not isinstance(outcome, ItemError))
    return samples + [Sample("classifier_top_score", float(outcome.scores.max())) for outcome in sound]
