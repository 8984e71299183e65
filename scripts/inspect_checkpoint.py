#!/usr/bin/env python3
"""Shows what a checkpoint holds, and what is missing to package it. No code in the file is run.

Exit codes: 0 if build_archive can package it as it is, 1 if not; then lines marked "missing" or "wrong" say why.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.errors import LoadError
from handler.settings import Settings
from scripts.archive.checkpoint import Checkpoint, read_checkpoint
from scripts.archive.facts import architecture_name
from scripts.archive.ingredients import checkpoint_thresholds, fit
from scripts.archive.labels import parse_labels, read_labels_file
from scripts.archive.sources import parse_image_size
from scripts.archive.weights import listed


@dataclass(frozen=True)
class Finding:
    what: str
    found: str
    state: str = "ok"  # ok, missing, wrong, or default: something else is used
    remedy: str = ""
    where: str = ""  # in the file, as config.img_size


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        findings = inspect(options)
    except LoadError as error:
        findings = [Finding("file", str(error), "wrong")]
    if options.json:
        print(json.dumps([vars(finding) for finding in findings], ensure_ascii=False))
    else:
        for finding in findings:
            where = f" ({finding.where})" if finding.where else ""
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            print(f"{finding.state:8} {finding.what:14} {finding.found}{where}{remedy}")
    return int(any(finding.state in ("missing", "wrong") for finding in findings))


def inspect(options: argparse.Namespace) -> list[Finding]:
    """In the order in which build_archive needs them. Raises LoadError if the file can't be read."""
    path: Path = options.checkpoint
    checkpoint = read_checkpoint(path)
    findings = [_tensors(checkpoint)]
    if checkpoint.unread:
        findings.append(Finding("objects", f"of {listed(checkpoint.unread)}", "default", "left out, and not run"))
    name = options.architecture or checkpoint.facts.architecture
    if name is None:
        findings.append(Finding("architecture", "not given", "missing", "build_archive --architecture NAME"))
    else:
        name = architecture_name(name)
        where = "" if options.architecture else checkpoint.facts.where.get("architecture", "")
        findings.append(Finding("architecture", name, where=where))
    labels, finding = _labels(checkpoint, options)
    findings.append(finding)
    if name is not None and labels is not None:
        findings.append(_fits(checkpoint, name, labels, options))
    findings.append(_thresholds(checkpoint, labels, path))
    findings.append(_image_size(checkpoint, path))
    if checkpoint.facts.transform:
        shown = ", ".join(f"{key} {value}" for key, value in checkpoint.facts.transform.items())
        findings.append(Finding("preprocessing", f"timm's, with {shown}"))
    else:
        findings.append(
            Finding("preprocessing", "not given", "default", "timm's, or build_archive --preprocessing FILE")
        )
    findings.append(Finding("command", _command(options, name, labels)))
    return findings


def _tensors(checkpoint: Checkpoint) -> Finding:
    """All that the file holds, by its entries; those of a few tensors are an optimizer's."""
    described = []
    for entry, tensors in checkpoint.entries.items():
        numbers = sum(tensor.numel() for tensor in tensors.values())
        kinds = ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}))
        where = f"under {entry}" if entry else "at the top"
        text = f"{len(tensors)} tensors {where}, {numbers / 1e6:.2f} million numbers, {kinds}"
        described.append((len(tensors), text))
    most = max(count for count, _ in described)
    return Finding("weights", "; ".join(text for count, text in described if count > most // 3))


def _labels(checkpoint: Checkpoint, options: argparse.Namespace) -> tuple[tuple[str, ...] | None, Finding]:
    given = checkpoint.facts.labels
    if options.labels is None and given is None:
        return None, Finding("labels", "not given", "missing", "build_archive --labels FILE")
    try:
        labels = read_labels_file(options.labels) if options.labels else parse_labels(given, options.checkpoint)
    except LoadError as error:
        return None, Finding("labels", str(error), "wrong")
    where = "" if options.labels else checkpoint.facts.where.get("labels", "")
    return labels, Finding("labels", f"{len(labels)}: {listed(labels, 6)}", where=where)


def _fits(checkpoint: Checkpoint, name: str, labels: tuple[str, ...], options: argparse.Namespace) -> Finding:
    path = options.checkpoint
    try:
        fitted = fit(checkpoint, Settings(name), labels, options.state_dict_key, path, options.labels or path, path)
    except LoadError as error:
        return Finding("fit", str(error), "wrong", "for other arguments of timm, handler.model_kwargs in a recipe")
    arguments = f" with {fitted.model_kwargs}" if fitted.model_kwargs else ""
    return Finding("fit", f"{name}{arguments}, {len(labels)} labels: {fitted.weights}")


def _command(options: argparse.Namespace, name: str | None, labels: tuple[str, ...] | None) -> str:
    """The command that packages the file; in capitals, what it still needs."""
    path: Path = options.checkpoint
    stem = path.resolve().name.split(".")[0] or "model"
    command = [".venv/bin/python", "scripts/build_archive.py", "--checkpoint", str(path), "--name", _url_name(stem)]
    if options.state_dict_key:
        command += ["--state-dict-key", options.state_dict_key]
    if options.architecture or name is None:
        command += ["--architecture", options.architecture or "NAME"]
    if options.labels or labels is None:
        command += ["--labels", str(options.labels or "FILE")]
    return shlex.join(command)


def _url_name(stem: str) -> str:
    name = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in stem).strip("-")
    return name or "model"


def _thresholds(checkpoint: Checkpoint, labels: tuple[str, ...] | None, path: Path) -> Finding:
    if checkpoint.facts.thresholds is None:
        return Finding("thresholds", "not given", "default", "0.5; scripts/calibrate.py finds better ones")
    if labels is None:
        return Finding("thresholds", "given, for labels that are not")
    try:
        values: Any = checkpoint_thresholds(checkpoint, labels, path)
    except LoadError as error:
        return Finding("thresholds", str(error), "wrong")
    where = checkpoint.facts.where.get("thresholds", "")
    return Finding("thresholds", f"{min(values):g} to {max(values):g}", where=where)


def _image_size(checkpoint: Checkpoint, path: Path) -> Finding:
    try:
        size = parse_image_size(checkpoint.facts.image_size, path)
    except LoadError as error:
        return Finding("image size", str(error), "wrong", "or build_archive --preprocessing FILE")
    if size is None:
        return Finding("image size", "not given", "default", "the architecture's, by timm")
    where = checkpoint.facts.where.get("image_size", "")
    return Finding("image size", f"{size[0]} x {size[1]} pixels (height x width)", where=where)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("checkpoint", type=Path, help="what a trainer saved, or a folder of the Hugging Face hub")
    add("--architecture", help="a timm model name (default: the checkpoint's)")
    add("--labels", type=Path, metavar="FILE", help=".txt, .json or .csv (default: the checkpoint's)")
    add("--state-dict-key", metavar="KEY", help="its entry with the weights, and a prefix of their names")
    add("--json", action="store_true", help="as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
