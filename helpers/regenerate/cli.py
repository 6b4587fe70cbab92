"""The command line of the runner."""

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from helpers.regenerate import trainings
from helpers.regenerate.batch import DONE, Batch, Display, until_signalled
from helpers.regenerate.notebooks import Notebook, NotebookError, assign, discover, in_order, select
from helpers.regenerate.planning import Survey, Task, make_plan, survey
from helpers.regenerate.processes import REPO_ROOT, WORK, Execution, Result, environment
from helpers.regenerate.publish import PublishError, publish, publish_data
from helpers.regenerate.report import describe_plan, describe_result, load_summary, shown, table, write_summary

TIMEOUTS = {"smoke": 600.0, "quick": 3_600.0, "full": 86_400.0}  # seconds per notebook
EXIT = {"ok": 0, "failed": 1, "interrupted": 130}
OWN_OPTIONS = ("profile", "dataset")


def main(arguments: list[str] | None = None, root: Path = REPO_ROOT) -> int:
    """Command line.

    Args:
        arguments: default those of the process.
        root: the repository; notebooks/ in it are run.

    Returns:
        0 if all went well, 1 if a notebook or publishing failed or a file could not be written, 2 if the request makes
        no sense, 130 if interrupted.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    _refuse_mixtures(parser, given)
    try:
        if given.sweep:
            return _sweep(given, root)
        if given.publish_data:
            return _publish_data(root)
        return Call(given, root).run()
    except (NotebookError, PublishError, OSError) as error:
        sys.stderr.write(f"regenerate: {error}\n")
        return 2 if isinstance(error, NotebookError) else 1
    except KeyboardInterrupt:
        return EXIT["interrupted"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m helpers.regenerate", description="Execute notebooks, or train recipes."
    )
    add = parser.add_argument
    add("--profile", default="auto", choices=["auto", *TIMEOUTS], help="how much to run; auto is full on a GPU")
    add("--dataset", default="auto", choices=["auto", "cifar10", "shapes10"], help="auto is CIFAR-10 if it can be had")
    add("--only", nargs="+", default=[], metavar="NN", help="notebooks to run, and what they need, such as 05 06")
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a notebook's parameter, or a sweep's recipe field",
    )
    add(
        "--jobs",
        type=_positive_int,
        metavar="N",
        help="notebooks or trainings at a time; default 1, for smoke's notebooks one per core, up to 4",
    )
    add("--out", type=Path, metavar="DIR", help="folder of the executed notebooks, default runs/notebooks")
    add("--timeout", type=_positive, metavar="SECONDS", help="limit for one notebook, default by profile")
    add("--force", action="store_true", help="run the chosen notebooks even where nothing changed")
    add("--dry-run", action="store_true", help="print what would run and why, and touch nothing")
    add("--publish", action="store_true", help="then write outputs, figures and tables back into the repository")
    add("--publish-data", action="store_true", help="only write data, weights and tables of full runs; run no notebook")
    add("--sweep", nargs="+", default=[], metavar="RECIPE", help="train these recipes with all --seeds instead")
    add("--seeds", nargs="+", type=int, default=[0], metavar="K", help="seeds of a sweep, such as 0 1 2")
    return parser


def _refuse_mixtures(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """End the process where options are given together that belong to different jobs."""
    alone = [name for name in ("sweep", "publish_data") if getattr(given, name)]
    others = [name for name in ("only", "out", "timeout", "publish", "force") if getattr(given, name)]
    if alone and len(alone + others) > 1:
        options = ", ".join("--" + name.replace("_", "-") for name in alone + others)
        parser.error(f"{options} cannot go together: a sweep, data alone, or notebooks")
    if given.seeds != [0] and not given.sweep:
        parser.error("--seeds belongs to --sweep; a notebook takes --set seed=K")
    asked = given.set or given.jobs or given.dry_run or (given.profile, given.dataset) != ("auto", "auto")
    if given.publish_data and asked:
        parser.error("--publish-data stands alone: it writes what full runs have left, and runs nothing")
    if given.publish and given.set:
        parser.error("--publish shows what the notebooks say of themselves; it takes no --set")


def _runs_root(root: Path) -> Path:
    return Path(os.environ.get("RUNS_ROOT") or root / "runs").absolute()


def _sweep(given: argparse.Namespace, root: Path) -> int:
    """Train recipes × seeds, or only say what would be trained; returns the exit status."""
    runs_root = _runs_root(root)
    trainings.check(given.sweep, given.seeds, given.set)
    where = survey(given.profile, given.dataset, given.dry_run, given.jobs or 1)
    tasks = trainings.plan(given.sweep, given.seeds, given.set, where, runs_root)
    if given.dry_run:
        sys.stdout.write(trainings.describe(tasks) + "\n")
        return 0
    return EXIT[trainings.run(tasks, given.set, where, runs_root, given.jobs or 1, Display(sys.stdout))]


def _publish_data(root: Path) -> int:
    """Write what the full runs of the run store say; returns the exit status."""
    _tell(root, publish_data(root, discover(root / "notebooks"), _runs_root(root)))
    return 0


def _tell(root: Path, written: Iterable[Path]) -> None:
    sys.stdout.write("".join(f"published {path.relative_to(root)}\n" for path in written))


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"takes a number above 0, got {text}")
    return number


def _positive_int(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"takes a whole number above 0, got {text}")
    return int(text)


class Call:
    """One call of the runner: the request checked, then planned and carried out.

    Args:
        given: the command line.
        root: the repository.

    Raises:
        NotebookError: an unknown notebook or parameter, or no data set.
    """

    def __init__(self, given: argparse.Namespace, root: Path):
        self.given, self.root = given, root
        self.series = discover(root / "notebooks")
        self.chosen = select(self.series, given.only)
        assign(self._notebooks(self.chosen), self._settings())  # refuses what no chosen notebook declares
        self.values = assign(self._notebooks(in_order(self.series, self.chosen)), self._settings())
        self.runs_root = _runs_root(root)
        self.out = (given.out or self.runs_root / "notebooks").absolute()
        if self.out.resolve() == (root / "notebooks").resolve():
            raise NotebookError("--out is the folder of the sources; --publish writes outputs there, checked")
        self.surroundings: Survey = survey(given.profile, given.dataset, given.dry_run, given.jobs)

    def _notebooks(self, keys: Iterable[str]) -> list[Notebook]:
        return [self.series[key] for key in keys]

    def _settings(self) -> list[str]:
        for setting in self.given.set:
            name = setting.partition("=")[0].strip()
            if name in OWN_OPTIONS:
                raise NotebookError(f"{name} is set by --{name}, for all notebooks alike")
        return self.given.set

    def plan(self) -> list[Task]:
        """What has to run now."""
        last = load_summary(self.out)
        return make_plan(self.series, self.chosen, self.values, self.surroundings, last, self.out, self.given.force)

    def run(self) -> int:
        """Carry the plan out, or only print it; returns the exit status."""
        if self.given.dry_run:
            sys.stdout.write(describe_plan(self.plan()) + "\n")
            return 0
        with locked(self.out):
            status = self._execute(self.plan())
            if status == "ok" and self.given.publish:
                entries = load_summary(self.out)
                _tell(self.root, publish(self.root, self.series, self.chosen, self.out, entries, self.runs_root))
        return EXIT[status]

    def _execute(self, plan: list[Task]) -> str:
        display = Display(sys.stdout)
        entries = load_summary(self.out)

        def ended(result: Result) -> None:
            result = replace(result, device=self.surroundings.device)
            entries[result.name] = result.to_dict()
            write_summary(self.out, entries, "running")
            display.line(describe_result(result, self.out))

        batch = Batch(plan, self._start, self.surroundings.jobs, display, ended)
        with until_signalled() as interruption:
            batch.run(interruption)
        good = all(result.status in DONE for result in batch.results.values())
        status = "interrupted" if interruption.asked else "ok" if good else "failed"
        write_summary(self.out, entries, status)
        display.line(table(plan, batch.results, entries))
        display.line(f"{status}; see {shown(self.out / 'index.html')}")
        return status

    def _start(self, task: Task) -> Execution:
        timeout = self.given.timeout or TIMEOUTS[self.surroundings.profile]
        variables = environment(self.surroundings.jobs, self.runs_root)
        return Execution(task.notebook.path, task.parameters, self.out, variables, timeout)


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold a folder of executed notebooks for this process alone.

    Raises:
        NotebookError: another one holds it, or it cannot be written to.
    """
    lock = FileLock(out / ".lock")
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise NotebookError(f"another run is writing to {out}; wait for it, or give this one --out") from None
    except OSError as error:
        raise NotebookError(f"cannot write to {out} ({error.strerror}); name another folder with --out") from None
    try:
        yield
    finally:
        shutil.rmtree(out / WORK, ignore_errors=True)
        lock.release()
