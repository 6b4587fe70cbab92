"""Measure this machine: every part in turns with what it is compared with, by medians, as a table and as JSON.

make bench                                  # about ten minutes on two cores
make bench ARGS="--only steps --rounds 3"   # a part of it
"""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

import cam
import evaluating
import loading
import memory
import startup
import steps
import sweeping
import table
import yardstick

from helpers import devices, training
from helpers.files import write_atomic

SECTIONS = {
    "steps": steps.measure,
    "loading": loading.measure,
    "evaluating": evaluating.measure,
    "sweeping": sweeping.measure,
    "cam": cam.measure,
    "startup": startup.measure,
    "memory": memory.measure,
}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="PART")
    parser.add_argument("--rounds", type=int, default=5, help="times that each side of a comparison is measured")
    parser.add_argument("--out", type=Path, help="the JSON; default bench.json among the runs")
    parser.add_argument("--tiny", action="store_true", help="the smallest nets and batches: a test, not a measurement")
    parser.add_argument("--grown", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.rounds < 1:
        parser.error(f"--rounds must be 1 or more, not {given.rounds}")
    return given


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    given = parse(arguments)
    scale = table.Scale(given.rounds, devices.compute(), given.tiny)
    if given.grown:
        print(memory.grown(scale, *given.grown))
        return 0
    path = given.out or training.runs_root() / "bench.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(_measure(scale, given.only), indent=1) + "\n")
    print(f"\nwritten to {path}")
    return 0


def _measure(scale: table.Scale, names: list[str]) -> dict:
    """Measure and print part by part."""
    started, found = time.perf_counter(), {}
    print(f"{scale.compute.describe()}; medians of {scale.rounds}, in turns after a warm-up (lowest–highest)")
    rows = yardstick.measure(scale)
    table.show(rows)
    rates = yardstick.rates(rows)
    for name in names:
        found[name] = SECTIONS[name](scale, rates)
        table.show(found[name])
    plain = {name: [dataclasses.asdict(row) for row in rows] for name, rows in found.items()}
    facts = {"device": scale.compute.describe(), "rounds": scale.rounds, "tiny": scale.tiny}
    seconds = round(time.perf_counter() - started, 1)
    return {**facts, "seconds": seconds, "yardsticks": rates, "parts": plain, **training.store.provenance()}


if __name__ == "__main__":
    sys.exit(main())
