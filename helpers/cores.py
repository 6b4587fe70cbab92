"""How many CPU cores there are to use. Standard library only: the runner does without torch."""

import os


def cores() -> int:
    """CPU cores this process may use; a container or a job scheduler may allow fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(jobs: int) -> int:
    """Cores for each of several jobs that run side by side, at least one."""
    return max(1, cores() // jobs)
