"""A request, checked and resolved once, as plain values: what the engine and all its jobs read."""

import argparse
import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

from helpers.files import end_with, literal, runs_root
from helpers.regenerate import series
from helpers.regenerate.series import Notebook, RequestError

LIMITS = {"smoke": 600.0, "quick": 3_600.0, "full": 86_400.0}  # seconds for one notebook
LIBRARIES = ("albumentations", "numpy", "torch", "torchvision")
Asked = tuple[str, dict[str, Any], int]  # recipe, overrides and seed of a run


def request_of(given: argparse.Namespace, root: Path) -> dict[str, Any]:
    """What is asked for on the command line of a repository."""
    runs = runs_root(root)
    out = (given.out or runs / ("trainings" if given.train else "notebooks")).absolute()
    if out.resolve() == (root / "notebooks").resolve():
        raise RequestError("--out is the folder of the sources; --publish writes outputs there, checked")
    known = series.discover(root / "notebooks")
    chosen = [] if given.train else series.select(known, given.only)
    values = series.assign(chosen, given.set, {"profile": given.profile, "dataset": given.dataset}) if chosen else {}
    asked = {one.key: wanted(one, values[one.key]) for one in chosen if one.trains}
    fields = {name: literal(value) for name, _, value in (setting.partition("=") for setting in given.set)}
    asked |= {(name, seed): (name, fields, seed) for seed in given.seeds for name in given.train}
    found = elsewhere(resolve, given.profile, given.dataset, given.dry_run, list(asked.values()), given.jobs)
    places = dict(zip(asked, found["places"]))
    request = found | {
        "front": os.getpid(),
        "python": sys.executable,
        "begun": time.time(),
        "request": str(out / "request.json"),
        "out": str(out),
        "runs": str(runs),
        "limit": given.timeout or LIMITS[found["profile"]],
        "gpu": int(not found["device"].startswith("cpu")),
        "versions": {name: metadata.version(name) for name in LIBRARIES},
        "trainings": {place: arguments(place, asked[key]) for key, place in places.items()},
        "notebooks": {},
    }
    for one in chosen:
        trained = [str(runs / places[one.key] / "record.json")] if one.trains else []
        settled = {name: found.get(name, value) for name, value in values[one.key].items()}
        facts = {"source": str(one.path.resolve()), "values": settled, "digest": one.digest()}
        request["notebooks"][one.path.stem] = facts | {"shows": trained + shows(one, root, runs)}
    return request


def wanted(notebook: Notebook, values: dict[str, Any]) -> Asked:
    """The run that a notebook shows."""
    return tuple((notebook.parameters | values)[name] for name in ("recipe", "overrides", "seed"))


def arguments(place: str, asked: Asked) -> list[str]:
    """The command line of helpers.training for a run."""
    (dataset, profile), (recipe, overrides, seed) = place.split("/")[:2], asked
    settings = [part for name, value in overrides.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    return [recipe, "--dataset", dataset, "--profile", profile, "--seed", str(seed), *settings]


def shows(notebook: Notebook, root: Path, runs: Path) -> list[str]:
    """Files whose content a notebook shows: the package's modules, what it reads, and the runs that it compares."""
    code = [path for path in (root / "helpers").rglob("*.py") if "regenerate" not in path.parts]
    records = runs.glob("cifar10/full/*/seed-*/record.json") if notebook.compares else ()
    read = [root / name for name in notebook.reads if (root / name).is_file()]
    return sorted(str(path) for path in (*code, *records, *read))


def elsewhere(function: Any, *arguments: Any) -> Any:
    """Call a function in a process of its own, which takes its images and its hold on a GPU with it when it ends."""
    spawn, watch = multiprocessing.get_context("spawn"), {"initializer": end_with, "initargs": (os.getpid(),)}
    with ProcessPoolExecutor(1, mp_context=spawn, **watch) as pool:
        return pool.submit(function, *arguments).result()


def resolve(profile: str, dataset: str, dry: bool, asked: list[Asked], jobs: int | None) -> dict[str, Any]:
    """What "auto" means here, and the places of runs in the store; unless `dry`, the data set is ready afterwards."""
    import torch  # here, since it is slow to load

    from helpers import data, devices, recipes

    try:
        names = [recipes.get(recipe, overrides).name for recipe, overrides, _ in asked]
        found = {"dataset": dataset.replace("auto", "cifar10") if dry else data.load(dataset, 0, 0).name}
        found["profile"] = recipes.resolve_profile(profile).name
    except (ValueError, RuntimeError, OSError) as error:
        raise RequestError(str(error)) from error
    jobs = jobs or (min(devices.cores(), 4) if found["profile"] == "smoke" else 1)  # its nets leave cores idle
    threads = max(1, devices.cores() // jobs)
    torch.set_num_threads(threads)  # as each job will have
    store = f"{found['dataset']}/{found['profile']}"
    places = [f"{store}/{name}/seed-{seed}" for name, (_, _, seed) in zip(names, asked)]
    compute = devices.compute()
    device = f"{compute.describe()}, {devices.matrix_rate(compute) / 1e9:,.0f} GFLOP/s in a matrix product"
    return found | {"jobs": jobs, "threads": threads, "places": places, "device": device}
