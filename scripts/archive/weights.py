"""Finds an architecture's weights in a checkpoint, by what fits: under any key, and under any prefix of their names."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from handler.errors import LoadError

Tensors = Mapping[str, torch.Tensor]
# Where weights fit in several places: averaged ones, then those under these keys, then the order in the file.
AVERAGED = re.compile(r"(?:^|[._])(?:ema|swa|avg|averaged?)(?=$|[._])", re.I)
KEYS = ("state_dict", "model_state_dict", "model", "model_state")
RULE = "averaged weights come first, then those under state_dict, model_state_dict or model"
# Parts that wrappers put between a module's name and its parameters'. The prefix of a wrapped whole needs no list.
INNER = re.compile(r"(?<=\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Of batch norms, and only used in training.
COUNTER = ".num_batches_tracked"
# Beside a network's own tensors under its prefix: what profilers, losses and metrics keep.
HARMLESS = re.compile(
    r"(?:^|[._])(?:total_ops|total_params|n_averaged|pos_weight|criterion|loss\w*|\w*_loss|metrics?|\w*_metrics?|acc|"
    r"accuracy|auroc|f1\w*|precision|recall)(?=$|[._])|(?:^|\.)(?:train|val|valid|test)_\w+\.",
    re.I,
)


@dataclass(frozen=True)
class Candidate:
    """The tensors under one prefix of one entry, by the architecture's names where they have them."""

    entry: str  # the checkpoint's key, joined with dots; empty for the file itself
    prefix: str
    tensors: Tensors
    missing: tuple[str, ...]
    extra: tuple[str, ...]  # under the prefix, and not of the architecture
    misshapen: tuple[str, ...]

    @property
    def place(self) -> str:
        return ".".join(part for part in (self.entry, self.prefix.rstrip(".")) if part)

    @property
    def fits(self) -> bool:
        return not (self.missing or self.extra or self.misshapen)


@dataclass(frozen=True)
class Weights:
    tensors: dict[str, torch.Tensor]  # all that the architecture has
    place: str  # entry and prefix; empty for the file itself
    others: tuple[str, ...]  # places with other weights that fit as well
    left_out: tuple[str, ...]  # tensors beside them, by their names in the file

    def __str__(self) -> str:
        text = f"{len(self.tensors)} tensors {f'under {self.place}' if self.place else 'at the top'}"
        if self.others:
            text += f", not of {', '.join(self.others)} ({RULE}; --state-dict-key takes another)"
        if self.left_out:
            text += f"; left out: {listed(self.left_out)}"
        return text


def find_weights(
    entries: Mapping[str, Tensors],
    network: torch.nn.Module,
    key: str | None,
    source: Path,
    labels_source: object = "labels",
) -> Weights:
    """The tensors of the network, as they are in the file.

    entries: each mapping of the file that holds tensors, by its keys joined with dots. key: such a place, with or
    without a prefix behind it; by default any. Raises LoadError where none fits, where the tensors hold no numbers, or
    where some are not finite.
    """
    wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
    candidates = candidates_of(entries, wanted, key)
    if key is not None and not candidates:
        raise LoadError(source, f"{key}: no such weights there, the file has {listed([*entries]) or 'none'}")
    fitting = sorted((candidate for candidate in candidates if candidate.fits), key=rank)
    if not fitting:
        _check_label_count(candidates, wanted, _classifier(network), labels_source)
        raise LoadError(source, _misfit(candidates, wanted, entries))
    chosen, *rest = fitting
    others = [other for other in rest if not _same(chosen, other)]
    tensors = {name: chosen.tensors.get(name, own) for name, own in network.state_dict().items()}
    check_numbers({name: chosen.tensors[name] for name in wanted if name in chosen.tensors}, source)
    left_out = _left_out(entries, chosen, fitting, wanted)
    return Weights(tensors, chosen.place, tuple(other.place for other in others), left_out)


def listed(names: list[str] | tuple[str, ...], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def candidates_of(entries: Mapping[str, Tensors], wanted: Mapping[str, torch.Size], key: str | None) -> list[Candidate]:
    """All places that have a good part of the wanted tensors, in the file's order."""
    return [
        candidate
        for entry, tensors in entries.items()
        for candidate in _candidates(entry, tensors, wanted)
        if key is None or f"{candidate.place}.".startswith(f"{key}.")
    ]


def _candidates(entry: str, tensors: Tensors, wanted: Mapping[str, torch.Size]) -> list[Candidate]:
    by_name = {INNER.sub("", name): tensor for name, tensor in tensors.items()}
    prefixes: Counter[str] = Counter()
    for name in by_name:
        parts = name.split(".")
        for place in range(len(parts)):
            if ".".join(parts[place:]) in wanted:
                prefixes[".".join(parts[:place]) + "." * (place > 0)] += 1
    # Chance matches of a few names, `weight` among them, are none.
    likely = [prefix for prefix, count in prefixes.items() if count > len(wanted) // 3]
    return [_candidate(entry, prefix, by_name, wanted, likely) for prefix in likely]


def _candidate(
    entry: str, prefix: str, by_name: Tensors, wanted: Mapping[str, torch.Size], prefixes: list[str]
) -> Candidate:
    inner = tuple(other for other in prefixes if other != prefix and other.startswith(prefix))  # a copy inside it
    names = [name for name in by_name if name.startswith(prefix) and not name.startswith(inner)]
    under = {name.removeprefix(prefix): by_name[name] for name in names}
    return Candidate(
        entry,
        prefix,
        under,
        missing=tuple(name for name in wanted if name not in under and not name.endswith(COUNTER)),
        extra=tuple(name for name in under if name not in wanted and not HARMLESS.search(name)),
        misshapen=tuple(name for name in wanted if name in under and under[name].shape != wanted[name]),
    )


def rank(candidate: Candidate) -> tuple[bool, int]:
    """The first in this order is taken."""
    first = candidate.entry.split(".")[0]
    averaged = AVERAGED.search(candidate.place) is not None
    return not averaged, KEYS.index(first) if first in KEYS else len(KEYS)


def _same(one: Candidate, other: Candidate) -> bool:
    shared = one.tensors.keys() & other.tensors.keys()
    return all(torch.equal(one.tensors[name], other.tensors[name]) for name in shared)


def _left_out(
    entries: Mapping[str, Tensors], chosen: Candidate, fitting: list[Candidate], wanted: Mapping[str, torch.Size]
) -> tuple[str, ...]:
    """The tensors of the same entry that are of no network that fits."""
    used = {other.prefix + name for other in fitting if other.entry == chosen.entry for name in wanted}
    return tuple(name for name in entries[chosen.entry] if INNER.sub("", name) not in used)


def check_numbers(tensors: Tensors, source: Path) -> None:
    """Raises LoadError, which names the tensor, where one has no numbers or some that are not finite."""
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise LoadError(source, f"{name}: on the meta device, which holds no numbers; expected the trained weights")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            count = int((~torch.isfinite(tensor)).sum())
            raise LoadError(source, f"{name}: {count} of {tensor.numel()} numbers are not finite: training diverged")


def _classifier(network: torch.nn.Module) -> tuple[str, ...]:
    """The names of the last layer, or of both where it was distilled."""
    names = getattr(network, "pretrained_cfg", {}).get("classifier")
    return (names,) if isinstance(names, str) else tuple(names or ())


def _check_label_count(
    candidates: list[Candidate], wanted: Mapping[str, torch.Size], classifier: tuple[str, ...], source: object
) -> None:
    """A wrong number of labels would show as a wrong shape of the last layer; this error says it in labels."""
    for candidate in candidates:
        layers = {f"{layer}.{kind}" for layer in classifier for kind in ("weight", "bias")}
        complete = not (candidate.missing or candidate.extra)
        if complete and candidate.misshapen and layers.issuperset(candidate.misshapen):
            name = candidate.misshapen[0]
            if candidate.tensors[name].shape[1:] == wanted[name][1:]:
                rows = candidate.tensors[name].shape[0]
                raise LoadError(source, f"{wanted[name][0]} labels, expected {rows}: the rows of {name}")


def _misfit(candidates: list[Candidate], wanted: Mapping[str, torch.Size], entries: Mapping[str, Tensors]) -> str:
    """What is wrong with the best of those that do not fit."""
    if not candidates:
        names = [name for tensors in entries.values() for name in tensors]
        return (
            f"{next(iter(wanted))}: missing, expected the {len(wanted)} tensors of it ({len(wanted)} missing, "
            f"{len(names)} extra: {listed(names, 2)}), under any key and prefix"
        )
    best = min(candidates, key=lambda candidate: len(candidate.missing) + len(candidate.extra))
    under = f" under {best.place}" if best.place else ""
    if best.missing or best.extra:
        first = f"{best.missing[0]}: missing" if best.missing else f"{best.extra[0]}: not in the architecture"
        counts = f"({len(best.missing)} missing, {len(best.extra)} extra)"
        return f"{first}, expected the {len(wanted)} tensors of it{under} {counts}"
    name = best.misshapen[0]
    given, expected = best.tensors[name].shape, wanted[name]
    if len(given) == len(expected) == 4 and given[0] == expected[0] and given[2:] == expected[2:]:
        trained = f"trained on images of {given[1]} channels (in_chans)"
        return f"{name}: shape {list(given)}: {trained}, expected {expected[1]}: photos are served as RGB"
    hint = ""
    if "pos_embed" in name:
        hint = "; if it was trained at another image size: handler: {model_kwargs: {img_size: SIDE}} in a recipe"
    return f"{name}: shape {list(given)}, expected {list(expected)}{hint}"
