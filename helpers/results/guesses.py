"""What a reader guessed before the answers showed, kept in the folder of runs, and how near it came."""

import json
from typing import Any

from helpers import files


def kept(**new: dict) -> dict[str, dict]:
    """All guesses by name, each with its answer once that showed; `new` ones are kept first."""
    path = files.runs_root() / "guesses.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if new:
        files.write_atomic(path, json.dumps(known := known | new, indent=1))
    return known


def ask(name: str) -> Any:
    """A field (ipywidgets.Text) for a guess, a number or a word. Enter keeps it, until its answer has shown."""
    import ipywidgets  # which a machine that only trains may lack

    known = kept().get(name, {}).get("guess", "")
    field = ipywidgets.Text(known, description=name, continuous_update=False, style={"description_width": "initial"})
    field.observe(lambda new: "answer" in kept().get(name, {}) or kept(**{name: {"guess": new["new"]}}), "value")
    return field


def answer(name: str, truth: float | str) -> str:
    """Keep what came out beside a guess; a sentence about the two, or about the answer where nobody guessed."""
    if guess := kept().get(name, {}).get("guess"):
        kept(**{name: {"guess": guess, "answer": truth}})
    return f"You guessed {guess}; it is {truth}." if guess else f"{name}: {truth} (no guess was kept)"


def score(share: float = 0.2) -> str:
    """How many guesses hit: a word, or a number that is off by less than a share of the answer."""
    told = [(files.literal(one["guess"].strip(" %")), one["answer"]) for one in kept().values() if "answer" in one]
    numbers = [abs(a - b) <= share * abs(b) for a, b in told if isinstance(a, int | float) and not isinstance(b, str)]
    words = [str(a).lower() == b.lower() for a, b in told if isinstance(b, str)]
    return f"{sum(numbers + words)} of {len(told)} guesses hit" if told else "no guess was kept"
