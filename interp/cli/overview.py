"""What `interp` alone and `interp --help` print: every command in a line or two, in the order a newcomer meets them."""

from __future__ import annotations

import inspect
import shutil
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

ABOUT = "Cached activations, probes and circuits for causal language models, with their nulls and controls."
MORE = """
`interp COMMAND --help` explains a command, with an example. MODEL is a Hugging Face id or a directory.
Start with `interp demo`, which needs nothing, or on a model of your own with `interp doctor MODEL`.
"""


def promise(command: Callable[..., Any]) -> str:
    """The first paragraph of what a command says of itself.

    >>> promise(len)
    'Return the number of items in a container.'
    """
    return " ".join((inspect.getdoc(command) or "").split("\n\n")[0].split())


def overview(commands: Mapping[str, Callable[..., Any]]) -> str:
    """The list of commands, as wide as the terminal.

    >>> print(overview({"count": len}))
    usage: interp COMMAND ...
    <BLANKLINE>
    Cached activations, ...
    <BLANKLINE>
      count  Return the number of items in a container.
    ...
    """
    wide = max(60, min(110, shutil.get_terminal_size().columns))
    column = max(map(len, commands)) + 4
    lines = [
        textwrap.fill(
            promise(command),
            wide,
            initial_indent=f"  {name}".ljust(column),
            subsequent_indent=" " * column,
            break_on_hyphens=False,
        )
        for name, command in commands.items()
    ]
    return "\n".join(["usage: interp COMMAND ...", "", textwrap.fill(ABOUT, wide), "", *lines, MORE.rstrip()])
