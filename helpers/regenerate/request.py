"""A request, checked and resolved once, as plain values: what the engine and all its jobs read."""

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from helpers.files import end_with, full_runs, literal, runs_root
from helpers.regenerate import series

LIMITS = {"smoke": 600.0, "quick": 3_600.0, "full": 86_400.0}  # seconds for one notebook


def request_of(given: argparse.Namespace, root: Path) -> dict[str, Any]:
    """What is asked for on the command line of a repository."""
    runs, settings = runs_root(root), {name: text for name, _, text in (one.partition("=") for one in given.set)}
    out = (given.out or runs / ("trainings" if given.train else "notebooks")).expanduser().absolute()
    if out.resolve() == (root / "notebooks").resolve():
        raise ValueError("--out is the folder of the sources; --publish writes outputs there")
    chosen = {} if given.train else series.discover(root / "notebooks", given.only)
    values = series.assigned(chosen, settings) if chosen else {}
    trains = [name for name, node in chosen.items() if node.metadata.get("helpers", {}).get("trains")]
    asked = [{key: values[name][key] for key in ("recipe", "overrides", "seed")} for name in trains]
    fields = {name: literal(text) for name, text in settings.items()}
    asked += [{"recipe": name, "overrides": fields, "seed": seed} for seed in given.seeds for name in given.train]
    found = elsewhere(resolve, given, asked)
    records = [f"{runs}/{place}/record.json" for place in found["places"]]
    shared = {name: found[name] for name in series.SHARED}
    versions = {name: metadata.version(name) for name in ("albumentations", "numpy", "torch", "torchvision")}
    request = found | {
        "front": os.getpid(),
        "python": sys.executable,
        "begun": time.time(),
        "out": str(out),
        "runs": str(runs),
        "limit": given.timeout or LIMITS[found["profile"]],
        "targets": dict(zip(found["places"], records)) | {name: f"{out}/{name}.ipynb" for name in chosen},
        "trainings": dict(zip(found["places"], asked)),
        "notebooks": {},
        "inputs": {name: contents(node, root, runs) for name, node in chosen.items()},
    }
    for name, node in chosen.items():
        named = [out / Path(value).expanduser() for value in values[name].values() if isinstance(value, str)]
        decides = {"digest": series.digest(node, filter(Path.is_file, named)), "format": found["format"]} | versions
        source = {"source": str(root / f"notebooks/{name}.ipynb"), "values": values[name] | shared}
        request["notebooks"][name] = source | decides
    for name, record in zip(trains, records):
        request["inputs"][name].append(record)
    return request


def contents(node: NotebookNode, root: Path, runs: Path) -> list[str]:
    """Files whose content a notebook shows: the package's modules, what it reads, and the runs that it compares."""
    facts = node.metadata.get("helpers", {})
    code = [path for path in (root / "helpers").rglob("*.py") if "regenerate" not in path.parts]
    records = [folder / "record.json" for folder in full_runs(runs)] if facts.get("compares") else ()
    read = [root / name for name in facts.get("reads", ())]
    return sorted(str(path) for path in (*code, *records, *read) if path.is_file())


def elsewhere(function: Any, *arguments: Any) -> Any:
    """Call a function in a process of its own, which takes its images and its hold on a GPU with it when it ends."""
    spawn, watch = multiprocessing.get_context("spawn"), {"initializer": end_with, "initargs": (os.getpid(),)}
    with ProcessPoolExecutor(1, mp_context=spawn, **watch) as pool:
        return pool.submit(function, *arguments).result()


def resolve(given: argparse.Namespace, asked: list[dict[str, Any]]) -> dict[str, Any]:
    """What "auto" means here, and the places of runs in the store; the data set is ready then, but for a dry run."""
    import torch  # here, since it is slow to load

    from helpers import data, devices, recipes

    names = [recipes.get(one["recipe"], one["overrides"]).name for one in asked]
    profile = recipes.resolve_profile(given.profile).name
    dataset = given.dataset.replace("auto", "cifar10") if given.dry_run else data.load(given.dataset, 0, 0).name
    jobs = given.jobs or (1 if profile == "full" else min(devices.cores(), 4))  # narrow nets leave cores idle
    threads = max(1, devices.cores() // jobs)
    torch.set_num_threads(threads)  # as each job will have
    compute = devices.compute()
    rate = "" if given.dry_run else f", {devices.matrix_rate(compute) / 1e9:,.0f} GFLOP/s in a matrix product"
    found = {"profile": profile, "dataset": dataset, "jobs": jobs, "threads": threads}
    found |= {"device": compute.describe() + rate, "format": f"{compute.device}, {compute.precision}"}
    return found | {"places": [f"{dataset}/{profile}/{name}/seed-{one['seed']}" for name, one in zip(names, asked)]}
