"""What a call of the runner would do: each notebook's parameters, and whether its last run still holds."""

import hashlib
import json
import multiprocessing
import os
import platform
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.devices import cores
from helpers.regenerate.children import end_with_parent
from helpers.regenerate.notebooks import Notebook, NotebookError, in_order

if TYPE_CHECKING:
    from helpers.regenerate.trainings import Training

HELPERS = Path(__file__).resolve().parent.parent
NOT_COMPUTING = ("archive", "campaign", "colab", "files")  # they take no part in what a notebook computes
SMOKE_JOBS = 4  # at most: each loads the libraries and the data set
LIBRARIES = ("albumentations", "numpy", "torch", "torchvision")
RUN_TIME = re.compile(r"(<!-- run-time -->).*?(<!-- /run-time -->)", re.DOTALL)


@dataclass(frozen=True)
class Survey:
    """What "auto" means on this machine today.

    Attributes:
        profile: "smoke", "quick" or "full".
        dataset: "cifar10" or "shapes10".
        device: what the notebooks compute on, in words.
        full_runs: digest of the full runs that are known.
        jobs: how many notebooks or trainings run at a time.
    """

    profile: str
    dataset: str
    device: str
    full_runs: str = ""
    jobs: int = 1


@dataclass(frozen=True)
class Task:
    """One notebook in the plan, or one training of a sweep.

    Attributes:
        notebook: what to run.
        parameters: what is passed to it.
        fingerprint: of all that its outputs depend on.
        why: why it has to run; empty where its last run still holds.
    """

    notebook: "Notebook | Training"
    parameters: dict[str, Any]
    fingerprint: str
    why: str


def survey(profile: str, dataset: str, dry: bool = False, jobs: int | None = None) -> Survey:
    """Resolve "auto" once for all notebooks, and have the data set ready before the first one starts.

    Runs in a process of its own, which takes its images and its hold on the GPU with it when it ends.

    Args:
        profile: a profile's name or "auto".
        dataset: a data set's name or "auto".
        dry: only say what would be found, and leave the data set where and as it is.
        jobs: how many run at a time; None is what `side_by_side` says.

    Raises:
        NotebookError: the data set cannot be had, or an unknown profile, data set or device is named.
    """
    spawn, watch = multiprocessing.get_context("spawn"), {"initializer": end_with_parent, "initargs": (os.getpid(),)}
    with ProcessPoolExecutor(1, mp_context=spawn, **watch) as pool:
        try:
            return pool.submit(_survey, profile, dataset, dry, jobs).result()
        except (RuntimeError, ValueError, OSError) as error:
            raise NotebookError(str(error)) from error


def _survey(profile: str, dataset: str, dry: bool, jobs: int | None) -> Survey:
    import torch  # here, since it is slow to load

    from helpers import data, devices, recipes, results

    expected = {"auto": "cifar10"}.get(dataset, dataset)  # a dry run downloads nothing
    name = expected if dry else data.load(dataset, 0, 0).name
    known = digest(results.runs().to_csv())
    profile = recipes.resolve_profile(profile).name
    jobs = jobs or side_by_side(profile)
    if jobs > 1:
        torch.set_num_threads(max(1, cores() // jobs))  # as each of them will have
    return Survey(profile, name, devices.compute().describe(), known, jobs)


def side_by_side(profile: str) -> int:
    """How many notebooks run at a time: one, but for the nets of smoke, so small that they leave cores idle."""
    return min(cores(), SMOKE_JOBS) if profile == "smoke" else 1


def make_plan(
    notebooks: Mapping[str, Notebook],
    chosen: Iterable[str],
    values: Mapping[str, Mapping[str, Any]],
    surroundings: Survey,
    earlier: Mapping[str, Mapping[str, Any]],
    out: Path,
    force: bool = False,
) -> list[Task]:
    """Order the chosen notebooks and what they need, and say which have to run.

    Args:
        notebooks: the series, by number.
        chosen: numbers asked for.
        values: settings by number, as `notebooks.assign` gives them.
        surroundings: what "auto" means here.
        earlier: entries of the last summary, by notebook name.
        out: folder of the executed notebooks.
        force: run the chosen ones whatever their state.
    """
    chosen = set(chosen)
    tasks: dict[str, Task] = {}
    code = helpers_digest()
    for key in in_order(notebooks, chosen):
        notebook = notebooks[key]
        needs = [tasks[need] for need in notebook.needs]
        parameters = _parameters(notebook, surroundings, values.get(key, {}))
        shown = [surroundings.full_runs] if notebook.compares else []
        shown += [_content(notebook.path.parent.parent / name) for name in notebook.reads]
        mark = digest([code, sources(notebook), parameters, versions(), [need.fingerprint for need in needs], *shown])
        why = "forced" if force and key in chosen else outdated(notebook, mark, needs, earlier, out)
        tasks[key] = Task(notebook, parameters, mark, why)
    return list(tasks.values())


def outdated(
    notebook: Notebook, fingerprint: str, needs: Iterable[Task], earlier: Mapping[str, Mapping[str, Any]], out: Path
) -> str:
    """Why a notebook's last run does not hold any more; empty where it does."""
    last = earlier.get(notebook.name)
    if last is None:
        return "not run yet"
    if last["status"] != "ok":
        return f"last run: {last['status']}"
    if last["fingerprint"] != fingerprint:
        return "changed since its last run"
    if not (out / f"{notebook.name}.ipynb").is_file():
        return "its output is gone"
    for need in needs:
        if need.why or earlier[need.notebook.name]["finished"] > last["started"]:
            return f"{need.notebook.name} is newer"
    return ""


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _parameters(notebook: Notebook, surroundings: Survey, values: Mapping[str, Any]) -> dict[str, Any]:
    resolved = {"profile": surroundings.profile, "dataset": surroundings.dataset}
    return {name: value for name, value in resolved.items() if name in notebook.parameters} | dict(values)


def sources(notebook: Notebook) -> list[list[Any]]:
    """What of a notebook decides its outputs: cells and their tags, but no outputs and no stamped run time."""
    return [
        [cell.cell_type, RUN_TIME.sub(r"\1\2", cell.source), sorted(cell.metadata.get("tags", []))]
        for cell in notebook.node.cells
    ]


def helpers_digest(folder: Path = HELPERS) -> str:
    """Digest of the helper modules that notebooks compute with."""
    paths = {path.relative_to(folder): path for path in sorted(folder.rglob("*.py"))}
    contents = {
        str(name): path.read_text(encoding="utf-8") for name, path in paths.items() if name.parts[0] != "regenerate"
    }
    return digest([[name, text] for name, text in contents.items() if Path(name).stem not in NOT_COMPUTING])


def versions() -> dict[str, str]:
    """Python's version and those of the libraries that numbers depend on, where installed."""
    installed = {name: _version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **{name: found for name, found in installed.items() if found}}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
