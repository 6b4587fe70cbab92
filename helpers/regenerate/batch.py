"""Running a plan: several notebooks at a time, each after what it needs, with a live line."""

import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TextIO

from helpers.regenerate.planning import Task
from helpers.regenerate.processes import Execution, Result

POLL_SECONDS = 0.2
QUIET_SECONDS = 30.0
DONE = ("ok", "unchanged")


class Display:
    """Lines of progress: one rewritten in place on a terminal, now and then a new one anywhere else.

    Args:
        stream: where to.
        quiet: seconds between two lines where none can be rewritten.
    """

    def __init__(self, stream: TextIO, quiet: float = QUIET_SECONDS):
        self.stream = stream
        self.live = stream.isatty()
        self.quiet = quiet
        self._written = time.monotonic()

    def line(self, text: str) -> None:
        """Write a line that stays."""
        self._write(f"{self._erased()}{text}\n")
        self._written = time.monotonic()

    def progress(self, text: str) -> None:
        """Show where things are."""
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            self._write(self._erased() + text[:width])
        elif time.monotonic() - self._written >= self.quiet:
            self.line(text)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # of a terminal that was closed: what runs is still to be ended in order
            self.stream.write(text)
            self.stream.flush()

    def _erased(self) -> str:
        return "\r\x1b[2K" if self.live else ""


@dataclass
class Interruption:
    """Whether the runner was asked to stop."""

    asked: bool = False


@contextlib.contextmanager
def until_signalled() -> Iterator[Interruption]:
    """Note Ctrl-C, SIGTERM or a closed terminal inside the block, instead of ending the process at once."""
    interruption = Interruption()

    def note(*_: Any) -> None:
        interruption.asked = True

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    names = [name for name in names if signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN]  # as nohup asks
    before = {name: signal.signal(getattr(signal, name), note) for name in names}
    try:
        yield interruption
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


class Batch:
    """A plan being run.

    Args:
        plan: tasks, what is needed first.
        start: starts the execution of a task.
        jobs: how many run at a time.
        display: where progress is shown.
        ended: called with each result of a notebook that ran or was skipped.

    Attributes:
        results: by notebook number; those not started have none.
    """

    def __init__(
        self,
        plan: list[Task],
        start: Callable[[Task], Execution],
        jobs: int,
        display: Display,
        ended: Callable[[Result], None],
    ):
        self.waiting = [task for task in plan if task.why]
        self.results = {t.notebook.key: Result(t.notebook.name, "unchanged") for t in plan if not t.why}
        self.running: list[tuple[Task, Execution]] = []
        self.total = len(self.waiting)
        self._start, self._jobs, self._display, self._ended = start, jobs, display, ended

    def run(self, interruption: Interruption) -> None:
        """Run all, or until interrupted: then end what runs and leave the rest."""
        try:
            while (self.waiting or self.running) and not interruption.asked:
                self._launch()
                self._collect()
                if self.running:
                    self._display.progress(self._where())
                    time.sleep(POLL_SECONDS)
            for task, execution in self.running:
                self._finish(task, execution.poll() or execution.stop("interrupted"))
        except BaseException:
            for _, execution in self.running:
                execution.kill()
            raise

    def _launch(self) -> None:
        for task in list(self.waiting):
            lost = [need for need in task.notebook.needs if self._status(need) not in (*DONE, None)]
            if lost:
                note = ", ".join(f"needs {need}, which ended as {self._status(need)}" for need in lost)
                self.waiting.remove(task)
                self._finish(task, Result(task.notebook.name, "skipped", note=note))
            elif len(self.running) < self._jobs and all(self._status(need) for need in task.notebook.needs):
                self.waiting.remove(task)
                self._display.line(f"{task.notebook.name}: started ({task.why})")
                self.running.append((task, self._start(task)))

    def _status(self, key: str) -> str | None:
        return self.results[key].status if key in self.results else None

    def _collect(self) -> None:
        for task, execution in list(self.running):
            result = execution.poll()
            if result:
                self.running.remove((task, execution))
                self._finish(task, result)

    def _finish(self, task: Task, result: Result) -> None:
        result = replace(result, fingerprint=task.fingerprint, parameters=task.parameters)
        self.results[task.notebook.key] = result
        self._ended(result)

    def _where(self) -> str:
        parts = [_describe(execution.name, execution.state(), execution.elapsed) for _, execution in self.running]
        done = self.total - len(self.waiting) - len(self.running)
        return f"[{done}/{self.total} done] " + " | ".join(parts)


def _describe(name: str, state: Mapping[str, Any], elapsed: float) -> str:
    at = f"{state.get('unit', 'cell')} {state['cell']} of {state['cells']}" if state["cell"] else "starting"
    return f"{name}: {at}, {clock(elapsed)}"


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
