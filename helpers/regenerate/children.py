"""What the runner's child processes do on their side: leave when the runner is gone.

python -m helpers.regenerate.children RUNNER … trains as `helpers.training` does; RUNNER is the runner's process number.
"""

import contextlib
import os
import sys
import threading
import time

import psutil


def end_with_parent(parent: int, interval: float = 1.0) -> None:
    """End this process, and what it started, once the runner that started it is gone, even by SIGKILL.

    Args:
        parent: the runner's process number, as it says itself: it may be gone before anybody here could ask.
        interval: seconds between two looks.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(interval)
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """Train as the command line says; returns the exit status."""
    end_with_parent(int(sys.argv[1]))
    from helpers.training.__main__ import main as train  # after the watch has begun, since it loads torch

    return train(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
