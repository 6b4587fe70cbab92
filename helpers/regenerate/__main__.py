"""Execute the notebooks of the series, or train recipes: python -m helpers.regenerate.

It checks a request, hands it over to Snakemake and closes with a table. What follows "--" goes to Snakemake as it is.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.files import REPO_ROOT, exclusive, runs_root, write_atomic
from helpers.regenerate.request import LIMITS, request_of
from helpers.regenerate.series import RequestError

ENDS_WITHIN = 4.0  # seconds after which what was interrupted is killed
INTERRUPTED = 130
STATUS = {0: "ok", 1: "failed", INTERRUPTED: "interrupted"}
JOB = re.compile(r"^    output: (.*)\n(?:    .*\n)*?    reason: (.*)", re.MULTILINE)  # as Snakemake shows one
PAGE = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Executed notebooks</title>\n{table}\n</html>\n'


def main(arguments: list[str] | None = None, root: Path = REPO_ROOT) -> int:
    """Command line; returns 0, 1 after a failure, 2 where the request makes no sense, 130 if interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    split = arguments.index("--") if "--" in arguments else len(arguments)
    given = options(arguments[:split])
    try:
        if given.publish_data:
            return publish(root, {"notebooks": (), "out": root, "runs": runs_root(root)})
        request = request_of(given, root)
        engine = command(request, given.force, arguments[split + 1 :])
        if given.dry_run:
            for name, why in plan(request, engine).items():
                print(f"{'run ' if why else 'skip'}  {name}: {why or 'finished and unchanged'}")
            return 0
        out = Path(request["out"])
        out.mkdir(parents=True, exist_ok=True)
        with exclusive(out / ".lock", refuse=f"another call is writing to {out}; wait for it, or give this one --out"):
            status = execute(request, engine)
            close(request, status)
        return publish(root, request) if given.publish and not status else status
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ValueError, OSError, RuntimeError) as error:
        print(f"regenerate: {error}", file=sys.stderr)
        return 2 if isinstance(error, RequestError | BlockingIOError) else 1


def options(arguments: list[str]) -> argparse.Namespace:
    """The command line, read; options that do not belong together end the process."""
    parser = argparse.ArgumentParser(prog="python -m helpers.regenerate", description=__doc__)
    alone, add = parser.add_mutually_exclusive_group().add_argument, parser.add_argument
    alone("--only", nargs="+", default=[], metavar="NN", help="notebooks to run, such as 05 06; default all")
    alone("--train", nargs="+", default=[], metavar="RECIPE", help="train these recipes with all --seeds, no notebooks")
    alone("--publish-data", action="store_true", help="only write data, weights and tables of full runs; run nothing")
    add("--profile", default="auto", choices=["auto", *LIMITS], help="how much to run; auto is full on a GPU")
    add("--dataset", default="auto", choices=["auto", "cifar10", "shapes10"], help="auto is CIFAR-10 if it can be had")
    add("--seeds", nargs="+", type=int, default=[0], metavar="K", help="seeds of --train, such as 0 1 2")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a notebook's parameter, or a recipe's field")
    add("--jobs", type=int, metavar="N", help="how many run at a time; default 1, for smoke one per core, up to 4")
    add("--out", type=Path, metavar="DIR", help="folder of the executed notebooks, default runs/notebooks")
    add("--timeout", type=float, metavar="SECONDS", help="limit for one notebook, default by profile")
    add("--force", action="store_true", help="run the chosen notebooks even where nothing changed")
    add("--dry-run", action="store_true", help="say what would run and why, and touch nothing")
    add("--publish", action="store_true", help="then write outputs, figures and tables back into the repository")
    given = parser.parse_args(arguments)
    if given.publish and (given.set or given.train):
        parser.error("--publish shows what the notebooks say of themselves; it takes no --set and no --train")
    if any(number is not None and number <= 0 for number in (given.jobs, given.timeout)):
        parser.error("--jobs and --timeout take numbers above 0")
    if given.seeds != [0] and not given.train:
        parser.error("--seeds belongs to --train; a notebook takes --set seed=K")
    return given


# ---- the engine ----


def command(request: dict[str, Any], force: bool, more: list[str]) -> list[str]:
    """The call of Snakemake for a request."""
    targets = [f"{request['out']}/{name}.ipynb" for name in request["notebooks"]]
    return [
        *(request["python"], "-m", "snakemake", "--snakefile", str(Path(__file__).with_name("Snakefile"))),
        *("--cores", str(request["jobs"] * request["threads"]), "--resources", f"gpu={request['jobs']}"),
        *("--keep-going", "--nolock", "--rerun-incomplete"),
        *("--rerun-triggers", "mtime", "params", "input"),  # the engine's own code decides no result
        *(["--forcerun", *targets] if force else []),
        *more,
    ]


def surroundings(request: dict[str, Any]) -> dict[str, str]:
    """The environment of all jobs: threads divided among them, folders that mean the same from anywhere."""
    own = {"NO_ALBUMENTATIONS_UPDATE": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1", "TQDM_MININTERVAL": "15"}
    path = os.pathsep.join(filter(None, [str(REPO_ROOT), os.environ.get("PYTHONPATH")]))
    own |= {"RUNS_ROOT": request["runs"], "PYTHONPATH": path}
    if request["jobs"] > 1:  # alone, a job takes what torch and the caller think best
        own |= {"OMP_NUM_THREADS": str(request["threads"]), "MKL_NUM_THREADS": str(request["threads"])}
        own |= {"OMP_WAIT_POLICY": "PASSIVE"}  # threads that wait at a barrier leave their core to the other jobs
    if os.environ.get("CIFAR10_ROOT"):
        own["CIFAR10_ROOT"] = str(Path(os.environ["CIFAR10_ROOT"]).expanduser().resolve())
    return {**os.environ, **own}


def execute(request: dict[str, Any], engine: list[str]) -> int:
    """Let the engine carry a request out; Ctrl-C, SIGTERM or a closed terminal end it and all that it started."""
    write_atomic(Path(request["out"], "request.json"), json.dumps(request, indent=1))
    stopped: list[float] = []
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(name) is not signal.SIG_IGN:  # as nohup asks
            signal.signal(name, lambda *_: stopped.append(time.monotonic()))
    own = ["--configfile", request["request"], "--directory", request["out"]]
    with open(Path(request["out"], "engine.log"), "w", encoding="utf-8") as log:  # the console is left to the jobs
        process = subprocess.Popen([*engine, *own], env=surroundings(request), stderr=log, start_new_session=True)
    asked = False
    while process.poll() is None:
        if stopped and not asked:
            os.killpg(process.pid, signal.SIGINT)
            asked = True
        elif stopped and time.monotonic() > stopped[0] + ENDS_WITHIN:
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.1)
    return INTERRUPTED if stopped else int(process.returncode != 0)


def plan(request: dict[str, Any], engine: list[str]) -> dict[str, str]:
    """Why each notebook or run would have to run now, "" where it would not; nothing is touched."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "request.json")
        asked.write_text(json.dumps(request))
        known = request["out"] if Path(request["out"], ".snakemake").is_dir() else folder
        own = ["--configfile", str(asked), "--directory", known, "--dry-run"]
        ended = subprocess.run([*engine, *own], env=surroundings(request), capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"the engine cannot plan this:\n{ended.stderr}{ended.stdout}")
    reasons = dict(JOB.findall(ended.stdout + ended.stderr))
    outputs = {place: f"{request['runs']}/{place}/record.json" for place in request["trainings"]}
    outputs |= {name: f"{request['out']}/{name}.ipynb" for name in request["notebooks"]}
    return {name: reasons.get(output, "").replace(f"{REPO_ROOT}/", "") for name, output in outputs.items()}


# ---- what it tells in the end ----


def close(request: dict[str, Any], status: int) -> None:
    """Print a table of what was asked for; write summary.json and index.html of all that lies in the folder."""
    out, runs = Path(request["out"]), Path(request["runs"])
    entries = entries_of(out)
    rows = {place: run_row(runs / place) for place in request["trainings"]}
    for name in request["notebooks"]:
        entry = entries.get(name, {"begun": 0, "status": ""})
        if entry["begun"] < request["begun"]:
            entry = entry | {"status": "not run" if status else "unchanged"}
        rows[name] = {column: entry.get(column, "") for column in ("status", "seconds", "note")}
    print(pd.DataFrame.from_dict(rows, "index").to_string())
    print(f"{STATUS[status]}; see {out / 'index.html'}" + f" and {out / 'engine.log'}" * (status == 1))
    write_atomic(out / "summary.json", json.dumps({"status": STATUS[status], "notebooks": entries}, indent=1) + "\n")
    every = pd.DataFrame(entries.values(), columns=["name", "status", "seconds", "note", "parameters", "finished"])
    links = [f'<a href="{name}.html">read</a> · <a href="logs/{name}.log">log</a>' for name in entries]
    page = every.map(lambda value: escape(str(value))).assign(files=links).to_html(index=False, escape=False)
    write_atomic(out / "index.html", PAGE.format(table=page))


def entries_of(out: Path) -> dict[str, dict[str, Any]]:
    """What each notebook's last job in a folder came to, by its name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(out.glob("logs/*.json"))}


def run_row(folder: Path) -> dict[str, Any]:
    """A run's line in the closing table."""
    if (folder / "record.json").exists():
        record = json.loads((folder / "record.json").read_text())
        return {"status": "trained", "seconds": record["seconds"], "note": f"accuracy {record['test_accuracy']:.2%}"}
    epochs = len((folder / "history.csv").read_text().splitlines()) - 1 if (folder / "history.csv").exists() else 0
    return {"status": f"{epochs} epochs so far", "seconds": "", "note": ""}


def publish(root: Path, request: dict[str, Any]) -> int:
    """Write what a finished request gave, and the data of full runs, into the tree."""
    from helpers.regenerate import publish as publishing  # here, since it loads torch

    out, runs = Path(request["out"]), Path(request["runs"])
    known = entries_of(out)
    entries = {name[:2]: known[name] for name in request["notebooks"]}
    for path in publishing.publish(root, entries, out, runs):
        print("published", path.relative_to(root))
    return 0


if __name__ == "__main__":
    sys.exit(main())
