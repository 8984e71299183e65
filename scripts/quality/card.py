"""The model card: what was measured of one version, as an archive carries it and describe shows it."""

from collections.abc import Mapping
from typing import Any

from scripts.quality.evaluation import Version


def make_card(facts: Mapping[str, Any], version: Version, labels: list[str]) -> dict[str, Any]:
    """Without nulls: TorchServe leaves them out when it shows the card. facts: of the data, and how it was measured."""
    card: dict[str, Any] = _without_nulls({**facts, "measured": version.name, **version.to_dict(labels)})
    return card


def _without_nulls(value: Any) -> Any:
    """Drops nulls, and mappings that hold nothing else."""
    if not isinstance(value, dict):
        return value
    kept = {key: _without_nulls(item) for key, item in value.items()}
    return {key: item for key, item in kept.items() if item is not None and (item or not value[key])}
