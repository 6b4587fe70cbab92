"""Trained weights that come with the repository, in 16 bits, with their facts and checksums."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load, save
from torch import nn

from helpers import files, models, training
from helpers.data import Dataset
from helpers.recipes import Recipe

FOLDER = files.REPO_ROOT / "images" / "weights"
Facts = dict[str, Any]  # of a net: net, width, num_classes; of its run: recipe, seed, test_accuracy, …; file, checksum
# Which run of a net is published is decided by design and not by its test accuracy: the first of these recipes that has
# been run in full on CIFAR-10, as it stands rather than with changes; of its runs the lowest seed, then the earliest.
CHOICE = {
    "davidnet": ("davidnet-onecycle-plus", "davidnet-onecycle"),
    "resnet18": ("resnet18-onecycle", "resnet18-plateau"),
}


def index(folder: Path = FOLDER) -> dict[str, Facts]:
    """Facts of all published weights, by net; none where nothing is published."""
    path = folder / "weights.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def published(net: str, folder: Path = FOLDER) -> tuple[nn.Module, Facts] | None:
    """The published "davidnet" or "resnet18", checked, and its facts; None where there is none.

    The net is in eval mode, on the CPU; a softmax of its logits is its confidence.
    """
    facts = index(folder).get(net)
    if facts is None:
        return None
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn in vain, but the caller's generator is kept
        model = models.build(net, facts["num_classes"], facts["width"])
    model.load_state_dict(load(checked(folder / facts["file"], facts)))  # which widens 16 bits to 32
    return model.eval(), facts


def trained(recipe: Recipe | str, dataset: Dataset | str, profile: str, seed: int) -> tuple[nn.Module, Facts]:
    """A recipe's net in eval mode on the device, and its facts: published, but under `smoke`; else trained by `fit`."""
    setting = training.Setting.of(recipe, dataset, profile, seed)
    asked = [setting.recipe.name, setting.dataset.name, seed]
    found = None if setting.profile == "smoke" else published(setting.recipe.net)
    if found and [found[1][key] for key in ("recipe", "dataset", "seed")] == asked:
        return setting.compute.place(found[0]), found[1]
    fitted = training.fit(recipe, dataset, profile=profile, seed=seed)
    return fitted.model, fitted.record


def checked(path: Path, facts: Facts) -> bytes:
    """The content of a file of weights, whole and as its facts describe it."""
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != facts["sha256"]:
        command = f"git -C {path.parent} checkout -- {path.name}"
        raise RuntimeError(f"{path.name} is missing or damaged: its checksum is wrong; fetch it again with: {command}")
    return content


def choose(runs: pd.DataFrame) -> dict[str, tuple[str, int]]:
    """Recipe and seed of the run to publish of each net that has one among the full runs, by the rule of CHOICE."""
    rank = {name: place for names in CHOICE.values() for place, name in enumerate(names)}
    places = [rank.get(name.partition("+")[0], float("nan")) + ("+" in name) / 2 for name in runs["recipe"]]
    ranked = runs.assign(rank=places).reindex(columns=["net", "recipe", "rank", "seed", "date"]).dropna(subset="rank")
    first = ranked.sort_values(["rank", "seed", "date"]).drop_duplicates("net")
    return {run.net: (run.recipe, int(run.seed)) for run in first.itertuples()}


def to_publish(runs: pd.DataFrame, folder: Path = FOLDER, root: Path | None = None) -> dict[Path, bytes]:
    """The chosen weights that the run store has as files, and the index, in which the entries of other nets stay."""
    entries, written = index(folder), {}
    for net, chosen in choose(runs).items():
        run = training.run_directory("cifar10", "full", *chosen, root)
        if run.record() and (checkpoint := run.checkpoint()):
            content, entries[net] = pack(run.record(), checkpoint)
            written[folder / entries[net]["file"]] = content
    if written:
        written[folder / "weights.json"] = (json.dumps(dict(sorted(entries.items())), indent=1) + "\n").encode()
    return written


def pack(record: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> tuple[bytes, Facts]:
    """A finished run's judged weights, the logit scale folded into the head, as a safetensors file, and its facts.

    Matrices have 16 bits and vectors 32, since variances of BatchNorm may be tiny. Equal weights give equal bytes.
    """
    recipe, averaged = record["recipe"], checkpoint.get("average")
    tensors = dict(averaged["module"] if averaged else checkpoint["model"])
    for name, tensor in tensors.items():
        scaled = tensor * recipe["logit_scale"] if name.startswith("head.") else tensor.clone()
        tensors[name] = (scaled.half() if scaled.ndim > 1 else scaled).contiguous()
    facts = {"net": recipe["net"], "width": recipe["width"], "num_classes": len(tensors["head.bias"])}
    known = ("dataset", "profile", "seed", "weights", "test_accuracy", "commit", "date")
    facts |= {"recipe": recipe["name"], **{name: record[name] for name in known}}
    content = save(tensors, {"facts": json.dumps(facts)})  # one key: their order is not kept
    sums = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return content, {**facts, "file": f"{recipe['net']}.safetensors", **sums}
