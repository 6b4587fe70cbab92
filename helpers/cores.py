"""How many CPU cores there are to use. Standard library only: the runner does without torch."""

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of CPU time in each period, or "max"


def cores() -> int:
    """CPU cores this process may use; a container or a job scheduler may allow fewer than the machine has."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, _quota() or allowed)


def _quota() -> int | None:
    """CPU time that the container grants, in cores, rounded up; None without a limit."""
    try:
        quota, period = QUOTA.read_text().split()
        return max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no container, or "max"
        return None


def threads(jobs: int) -> int:
    """Cores for each of several jobs that run side by side, at least one."""
    return max(1, cores() // jobs)
