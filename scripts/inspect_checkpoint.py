#!/usr/bin/env python3
"""Shows what a checkpoint holds, and what is missing to package it. No code in the file is run.

Exit codes: 0 if build_archive can package it as it is, 1 if not; then lines marked "missing" or "wrong" say why.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.errors import LoadError
from handler.network import create_network, load_weights
from scripts.archive.checkpoint import Checkpoint, read_checkpoint
from scripts.archive.ingredients import check_label_count, checkpoint_thresholds
from scripts.archive.sources import parse_image_size, parse_labels


@dataclass(frozen=True)
class Finding:
    what: str
    found: str
    state: str = "ok"  # ok, missing, wrong, or default: something else is used
    remedy: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        findings = inspect(read_checkpoint(options.checkpoint, options.state_dict_key), options.checkpoint)
    except LoadError as error:
        findings = [Finding("file", str(error), "wrong")]
    if options.json:
        print(json.dumps([vars(finding) for finding in findings], ensure_ascii=False))
    else:
        for finding in findings:
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            print(f"{finding.state:8} {finding.what:14} {finding.found}{remedy}")
    return int(any(finding.state in ("missing", "wrong") for finding in findings))


def inspect(checkpoint: Checkpoint, path: Path) -> list[Finding]:
    """In the order in which build_archive needs them."""
    numbers = sum(tensor.numel() for tensor in checkpoint.tensors.values())
    kinds = ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in checkpoint.tensors.values()}))
    where = f"under {checkpoint.key}" if checkpoint.key else "at the top"
    weights = f"{len(checkpoint.tensors)} tensors {where}, {numbers / 1e6:.2f} million numbers, {kinds}"
    findings = [Finding("weights", weights)]
    if checkpoint.architecture is None:
        findings.append(Finding("architecture", "not given", "missing", "build_archive --architecture NAME"))
    else:
        findings.append(Finding("architecture", checkpoint.architecture))
    labels: tuple[str, ...] | None = None
    if checkpoint.labels is None:
        findings.append(Finding("labels", "not given", "missing", "build_archive --labels FILE"))
    else:
        try:
            labels = parse_labels(checkpoint.labels, path)
            findings.append(Finding("labels", f"{len(labels)}: {', '.join(labels[:6])}{', …' * (len(labels) > 6)}"))
        except LoadError as error:
            findings.append(Finding("labels", str(error), "wrong"))
    if checkpoint.architecture is not None and labels is not None:
        findings.append(_fits(checkpoint, labels, path))
    findings.append(_thresholds(checkpoint, labels, path))
    findings.append(_image_size(checkpoint, path))
    findings.append(
        Finding("preprocessing", "never in a checkpoint", "default", "timm's, or build_archive --preprocessing FILE")
    )
    return findings


def _fits(checkpoint: Checkpoint, labels: tuple[str, ...], path: Path) -> Finding:
    assert checkpoint.architecture is not None
    try:
        network = create_network(checkpoint.architecture, len(labels), {}, path)
        check_label_count(network, checkpoint, labels, path)
        load_weights(network, checkpoint.tensors, path)
    except LoadError as error:
        return Finding("fit", str(error), "wrong", "for other arguments of timm, handler.model_kwargs in a recipe")
    return Finding("fit", f"the weights are those of {checkpoint.architecture} with {len(labels)} labels")


def _thresholds(checkpoint: Checkpoint, labels: tuple[str, ...] | None, path: Path) -> Finding:
    if checkpoint.thresholds is None:
        return Finding("thresholds", "not given", "default", "0.5; scripts/calibrate.py finds better ones")
    if labels is None:
        return Finding("thresholds", "given, for labels that are not")
    try:
        values: Any = checkpoint_thresholds(checkpoint, labels, path)
    except LoadError as error:
        return Finding("thresholds", str(error), "wrong")
    return Finding("thresholds", f"{min(values):g} to {max(values):g}")


def _image_size(checkpoint: Checkpoint, path: Path) -> Finding:
    try:
        size = parse_image_size(checkpoint.image_size, path)
    except LoadError as error:
        return Finding("image size", str(error), "wrong", "or build_archive --preprocessing FILE")
    if size is None:
        return Finding("image size", "not given", "default", "the architecture's, by timm")
    return Finding("image size", f"{size[0]} x {size[1]} pixels (height x width)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("checkpoint", type=Path, help=".pt, .pth or .safetensors")
    add("--state-dict-key", metavar="KEY", help="its entry with the weights (default: averaged ones if it has them)")
    add("--json", action="store_true", help="as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
