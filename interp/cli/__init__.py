"""The command line: one command per job. Paths and printing only; the work is in the package."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 a check failed, 2 an error, 130 interrupted."""
    from .. import __version__
    from ..errors import InterpError
    from .commands import COMMANDS
    from .overview import overview
    from .running import parse, run

    args = list(sys.argv[1:] if argv is None else argv)
    if args in (["--version"], ["-V"]):
        print(f"interp {__version__}")
        return 0
    command = None
    try:
        if args in ([], ["--help"], ["-h"]):
            print(overview(COMMANDS))
            sys.exit(0)
        command = parse(args)
        return run(command, args)
    except InterpError as error:
        print(f"interp: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interp: interrupted; {_interrupted(command)}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader went away (`| head`); Python must not flush into the closed pipe on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _interrupted(command: object) -> str:
    """How to go on: what the command says, or that it starts again."""
    said = getattr(command, "interrupted", None)
    return "the same command starts from the beginning" if said is None else said()
