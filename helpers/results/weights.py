"""Trained weights that come with the repository, in 16 bits, with their facts and checksums."""

import hashlib
import importlib.util
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from helpers import models
from helpers.results.published import IMAGES
from helpers.training import runs
from helpers.training.runs import RunDirectory

FOLDER = IMAGES / "weights"
INDEX = "weights.json"
FACTS = ("dataset", "profile", "seed", "weights", "test_accuracy", "commit", "date")  # of the run's record
# Which run of a net is published is decided by design and not by its test accuracy: the first of these recipes that
# has been run in full on CIFAR-10, and of its runs that with the lowest seed.
CHOICE = {
    "davidnet": ("davidnet-onecycle-plus", "davidnet-onecycle"),
    "resnet18": ("resnet18-onecycle", "resnet18-plateau"),
}


class WeightsError(RuntimeError):
    """Published weights cannot be used; the message says why and what to do."""


class Published(NamedTuple):
    """A trained net that came with the repository."""

    model: nn.Module  # in eval mode, on the CPU; a softmax of its logits is its confidence
    facts: dict[str, Any]  # net, width, num_classes, recipe, FACTS (accuracy in [0, 1]), file, bytes and sha256


def index(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Facts of all published weights, by net; none where nothing is published."""
    path = folder / INDEX
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def published(net: str, folder: Path = FOLDER) -> Published | None:
    """The published weights of a net, or None where there are none; see `load`."""
    return load(net, folder) if net in index(folder) else None


def load(net: str, folder: Path = FOLDER) -> Published:
    """Read the published weights of a net, "davidnet" or "resnet18", checked.

    Raises:
        WeightsError: none are published, the file is missing, damaged or of another net, or safetensors is missing.
    """
    known = index(folder)
    if net not in known:
        raise WeightsError(f"no weights of {net!r} are published; there are: {', '.join(known) or 'none'}")
    facts = known[net]
    stored = _safetensors().load(checked(folder / facts["file"], facts))
    tensors = {name: _widened(tensor) for name, tensor in stored.items()}
    try:
        return Published(restored(facts["net"], facts["width"], facts["num_classes"], tensors), facts)
    except RuntimeError as error:
        raise WeightsError(f"{facts['file']} does not fit {net} of width {facts['width']}: {error}") from None


def checked(path: Path, facts: Mapping[str, Any]) -> bytes:
    """The content of a file of weights, whole and as its facts describe it.

    Raises:
        WeightsError: it is missing, or its checksum is another one.
    """
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != facts["sha256"]:
        state = f"has {len(content):,} bytes in place of {facts['bytes']:,}, or others" if content else "is missing"
        command = f"git -C {shlex.quote(str(path.parent))} checkout -- {shlex.quote(path.name)}"
        raise WeightsError(f"{path.name} {state}: its checksum is wrong; fetch it again with: {command}")
    return content


def restored(net: str, width: int, num_classes: int, state: Mapping[str, torch.Tensor]) -> nn.Module:
    """A net with the given state dict, in eval mode, on the CPU."""
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn in vain, but the caller's generator is kept
        model = models.build(net, num_classes, width)
    model.load_state_dict(state)
    return model.eval()


def choose(root: Path | None = None) -> dict[str, RunDirectory]:
    """The run of each net whose weights are to be published, by the rule of CHOICE; nets without a run are left out."""
    chosen: dict[str, tuple[tuple[int, int], RunDirectory]] = {}
    for directory in runs.finished_runs(root):
        record = directory.record()
        rank = record and _rank(record)
        if rank and (directory.path / "checkpoint.pt").is_file():
            net = record["recipe"]["net"]
            chosen[net] = min(chosen.get(net, (rank, directory)), (rank, directory), key=lambda pair: pair[0])
    return {net: directory for net, (_, directory) in chosen.items()}


def pack(directory: RunDirectory) -> tuple[bytes, dict[str, Any]]:
    """A finished run's judged weights as the bytes of a safetensors file, and their facts.

    Weights are rounded to 16 bits. Vectors stay in 32, since the variances of BatchNorm may be tiny; they are few. The
    logit scale of the loss is folded into the head, as in `training.Fitted`. Equal weights give equal bytes.

    Raises:
        WeightsError: the run has no record or checkpoint, or safetensors is missing.
    """
    tensors = {name: _rounded(tensor) for name, tensor in judged_state(directory).items()}
    record = directory.record()
    recipe = record["recipe"]
    shape = {"net": recipe["net"], "width": recipe["width"], "num_classes": len(tensors["head.bias"])}
    facts = {**shape, "recipe": recipe["name"], **{name: record.get(name) for name in FACTS}}
    content = _safetensors().save(tensors, {"facts": json.dumps(facts)})  # one key: their order is not kept
    return content, facts


def judged_state(directory: RunDirectory) -> dict[str, torch.Tensor]:
    """State dict of a finished run's judged weights, from its checkpoint, with the logit scale folded into the head.

    Raises:
        WeightsError: the run has no record or no checkpoint.
    """
    record, checkpoint = directory.record(), directory.checkpoint()
    if record is None or checkpoint is None:
        raise WeightsError(f"{directory.path} is not finished, or its checkpoint.pt is gone; train this run again")
    averaged, scale = checkpoint["averaged"], record["recipe"]["logit_scale"]
    state = averaged["module"] if averaged is not None else checkpoint["model"]
    return {name: tensor * scale if name.startswith("head.") else tensor for name, tensor in state.items()}


def files(root: Path | None, folder: Path = FOLDER) -> dict[Path, bytes | str]:
    """What publishing has to write: weights of the chosen runs, and the index, in which other nets' entries stay.

    Published weights whose run ranks higher by the rule than any of the run store's stay, too.
    """
    entries, written = index(folder), {}
    for net, directory in choose(root).items():
        record = directory.record()
        if net in entries and _rank(_as_record(entries[net])) < _rank(record):
            continue
        content, facts = pack(directory)
        path = folder / f"{net}.safetensors"
        sums = {"file": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        entries[net], written[path] = {**facts, **sums}, content
    if written:
        written[folder / INDEX] = json.dumps(dict(sorted(entries.items())), indent=1) + "\n"
    return written


def _rank(record: Mapping[str, Any]) -> tuple[int, int] | None:
    """Place in the order of the rule, the smallest first; None for runs that it does not know."""
    recipe, order = record["recipe"], CHOICE.get(record["recipe"]["net"], ())
    if (record["dataset"], record["profile"]) != ("cifar10", "full") or recipe["name"] not in order:
        return None
    return order.index(recipe["name"]), record["seed"]


def _as_record(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A published entry as `_rank` takes it; an earlier configuration stands for its recipe until that is run."""
    return {**facts, "recipe": {"name": facts["recipe"].partition("+")[0], "net": facts["net"]}}


def _rounded(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor.clone()).contiguous()


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def can_be_written() -> bool:
    """Whether safetensors is installed; a machine that only trains may lack it."""
    return importlib.util.find_spec("safetensors") is not None


def _safetensors() -> Any:
    """The library, loaded only where weights are read or written: a machine that only trains does without it."""
    try:
        import safetensors.torch
    except ImportError:
        raise WeightsError("published weights need the library safetensors: pip install 'safetensors>=0.4'") from None
    return safetensors.torch
