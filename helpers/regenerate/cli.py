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

from helpers.regenerate.batch import DONE, Batch, Display, until_signalled
from helpers.regenerate.notebooks import Notebook, NotebookError, assign, discover, in_order, select
from helpers.regenerate.planning import Survey, Task, make_plan, survey
from helpers.regenerate.processes import REPO_ROOT, WORK, Execution, Result, environment
from helpers.regenerate.publish import PublishError, publish
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
        0 if all went well, 1 if a notebook or publishing failed, 2 if the request makes no sense, 130 if interrupted.
    """
    given = _parser().parse_args(arguments)
    try:
        return Call(given, root).run()
    except (NotebookError, PublishError) as error:
        sys.stderr.write(f"regenerate: {error}\n")
        return 1 if isinstance(error, PublishError) else 2
    except KeyboardInterrupt:
        return EXIT["interrupted"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m helpers.regenerate", description="Execute the notebooks.")
    add = parser.add_argument
    add("--profile", default="auto", choices=["auto", *TIMEOUTS], help="how much to run; auto is full on a GPU")
    add("--dataset", default="auto", choices=["auto", "cifar10", "shapes10"], help="auto is CIFAR-10 if it can be had")
    add("--only", nargs="+", default=[], metavar="NN", help="notebooks to run, and what they need, such as 05 06")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the notebooks declaring it")
    add("--jobs", type=_positive_int, default=1, metavar="N", help="notebooks at a time")
    add("--out", type=Path, metavar="DIR", help="folder of the executed notebooks, default runs/notebooks")
    add("--timeout", type=_positive, metavar="SECONDS", help="limit for one notebook, default by profile")
    add("--force", action="store_true", help="run the chosen notebooks even where nothing changed")
    add("--dry-run", action="store_true", help="print what would run and why, and touch nothing")
    add("--publish", action="store_true", help="then write outputs, figures and tables back into the repository")
    return parser


def _positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"takes a number above 0, got {text}")
    return number


def _positive_int(text: str) -> int:
    return int(_positive(str(int(text))))


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
        self.runs_root = Path(os.environ.get("RUNS_ROOT") or root / "runs").absolute()
        self.out = (given.out or self.runs_root / "notebooks").absolute()
        if self.out.resolve() == (root / "notebooks").resolve():
            raise NotebookError("--out is the folder of the sources; --publish writes outputs there, checked")
        self.surroundings: Survey = survey(given.profile, given.dataset, download=not given.dry_run)

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
                written = publish(self.root, self.series, self.chosen, self.out, entries, self.runs_root)
                sys.stdout.write("".join(f"published {path.relative_to(self.root)}\n" for path in written))
        return EXIT[status]

    def _execute(self, plan: list[Task]) -> str:
        display = Display(sys.stdout)
        entries = load_summary(self.out)

        def ended(result: Result) -> None:
            result = replace(result, device=self.surroundings.device)
            entries[result.name] = result.to_dict()
            write_summary(self.out, entries, "running")
            display.line(describe_result(result, self.out))

        batch = Batch(plan, self._start, self.given.jobs, display, ended)
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
        variables = environment(self.given.jobs, self.runs_root)
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
