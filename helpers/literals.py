"""Values as they are written on a command line. Standard library only, but for YAML where it is there."""

import ast
import contextlib
import json
from typing import Any


def literal(text: str) -> Any:
    """Read a value as a Python, JSON or YAML literal of JSON's types; anything else is a string."""
    readers = [ast.literal_eval, json.loads]
    if text.lstrip().startswith(("[", "{")):  # only there: elsewhere YAML would turn "on" and "1:30" into other things
        readers.append(_yaml)
    for reader in readers:
        with contextlib.suppress(Exception):
            return json.loads(json.dumps(reader(text)))
    return text


def _yaml(text: str) -> Any:
    import yaml  # comes with papermill; a machine that only trains does not need it

    return yaml.safe_load(text)
