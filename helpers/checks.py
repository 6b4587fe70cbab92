"""Errors that name what was wrong and what is allowed."""

from collections.abc import Iterable
from typing import Any


def choice(field_name: str, value: Any, allowed: Iterable[str]) -> None:
    """Raise a ValueError that lists what is allowed, unless `value` is."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"unknown {field_name} {value!r}; allowed: {', '.join(allowed)}")


def number(field_name: str, value: Any, low: float, below: float = float("inf"), whole: bool = False) -> None:
    """Raise a ValueError that says what is allowed, unless `value` is a number with low <= value < below."""
    kind = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value < below:
        wanted = "a whole number" if whole else "a number"
        bound = f" and below {below}" if below < float("inf") else ""
        raise ValueError(f"{field_name} must be {wanted} of at least {low}{bound}, not {value!r}")


def share(field_name: str, value: Any) -> None:
    """Raise a ValueError that says what is allowed, unless `value` is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{field_name} must be a number from 0 to 1, not {value!r}")
