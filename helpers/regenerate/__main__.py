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

from helpers.files import REPO_ROOT, exclusive, runs_root, write_anything, write_atomic
from helpers.regenerate.request import LIMITS, request_of

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
    failure = 1 if given.publish_data else 2  # until the request has been found to make sense
    try:
        if given.publish_data:
            return publish(root, [], root, runs_root(root))
        request = request_of(given, root)
        engine = command(request, given.force, arguments[split + 1 :])
        if given.dry_run:
            return plan(request, engine)
        out = Path(request["out"])
        out.mkdir(parents=True, exist_ok=True)
        with exclusive(out / ".lock", refuse=f"another call is writing to {out}; wait for it, or give this one --out"):
            failure = 1
            status = execute(request, engine)
            close(request, status)
        if given.publish and not status:
            return publish(root, list(request["notebooks"]), out, Path(request["runs"]))
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ValueError, OSError, RuntimeError) as error:
        print(f"regenerate: {error}", file=sys.stderr)
        return failure


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
    add("--jobs", type=int, metavar="N", help="how many share the cores; default 1 for full, else one a core, up to 4")
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
    return [
        *(request["python"], "-m", "snakemake", *request["targets"].values()),
        *("--snakefile", str(Path(__file__).with_name("Snakefile"))),
        *("--cores", str(request["jobs"] * request["threads"]), "--keep-going", "--nolock", "--rerun-incomplete"),
        *("--rerun-triggers", "mtime", "params", "input"),  # the engine's own code decides no result
        *(["--forcerun", "notebook"] if force else []),  # the rule: all those that were chosen
        *more,
    ]


def surroundings(request: dict[str, Any]) -> dict[str, str]:
    """The environment of all jobs: threads divided, folders as meant here; no kernel, no options of the reader's."""
    own = {"NO_ALBUMENTATIONS_UPDATE": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1", "TQDM_MININTERVAL": "15"}
    own |= {"JUPYTER_PATH": f"{sys.prefix}/share/jupyter", "PYTHONOPTIMIZE": "", "PYTHONIOENCODING": "utf-8"}
    own["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"  # figures stand under their cells
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
    own = ["--directory", request["out"], "--configfile", f"{request['out']}/request.json"]
    with open(Path(request["out"], "engine.log"), "w", encoding="utf-8") as log:  # the console is left to the jobs
        process = subprocess.Popen([*engine, *own], env=surroundings(request), stderr=log, start_new_session=True)
    told = False
    while process.poll() is None:
        if stopped and not told:
            os.killpg(process.pid, signal.SIGINT)
            told = True
        elif stopped and time.monotonic() > stopped[0] + ENDS_WITHIN:
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.1)
    return INTERRUPTED if stopped else int(process.returncode != 0)


def plan(request: dict[str, Any], engine: list[str]) -> int:
    """Print why each notebook or run would have to run now, or that it would not; nothing is touched."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "request.json")
        asked.write_text(json.dumps(request))
        known = request["out"] if Path(request["out"], ".snakemake").is_dir() else folder
        own = ["--configfile", str(asked), "--directory", known, "--dry-run"]
        ended = subprocess.run([*engine, *own], env=surroundings(request), capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"the engine cannot plan this:\n{ended.stderr}{ended.stdout}")
    reasons = dict(JOB.findall(ended.stdout + ended.stderr))
    for name, output in request["targets"].items():
        why = reasons.get(output, "").replace(f"{REPO_ROOT}/", "")
        print(f"run   {name}: {why}" if why else f"skip  {name}: finished and unchanged")
    return 0


# ---- what it tells in the end ----


def close(request: dict[str, Any], status: int) -> None:
    """Print a table of what was asked for; write summary.json and index.html of all that lies in the folder."""
    out = Path(request["out"])
    entries = [json.loads(path.read_text()) for path in sorted(out.glob("logs/**/*.json"))]
    summary = {"status": STATUS[status], "jobs": {entry["name"]: entry for entry in entries}}
    write_atomic(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    columns = ["name", "status", "seconds", "note", "parameters", "finished", "begun"]
    jobs = pd.DataFrame(entries, columns=columns).set_index("name")
    page = jobs.drop(columns="begun").map(lambda value: escape(str(value)))
    read = {name: f'<a href="{name}.html">read</a> · ' * (out / f"{name}.html").exists() for name in jobs.index}
    page["files"] = [f'{read[name]}<a href="logs/{name}.log">log</a>' for name in jobs.index]
    write_atomic(out / "index.html", PAGE.format(table=page.to_html(escape=False)))
    asked = jobs.reindex(request["targets"])
    asked.loc[~(asked["begun"] >= request["begun"]), "status"] = "not run" if status else "unchanged"
    print(asked[["status", "seconds", "note"]].to_string(na_rep=""))
    print(f"{STATUS[status]}; see {out / 'index.html'}" + f" and {out / 'engine.log'}" * (status == 1))


def publish(root: Path, names: list[str], out: Path, runs: Path) -> int:
    """Write what finished notebooks gave, and the data of full runs, into the tree."""
    from helpers.regenerate import publish as publishing  # here, since it loads torch

    for path in publishing.publish(root, names, out, runs):
        print("published", path.relative_to(root))
    return 0


if __name__ == "__main__":
    write_anything()
    sys.exit(main())
