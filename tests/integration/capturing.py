"""A process that forks captures on demand, so that a test can kill them: a path in, the capture's number out.

The model and all libraries load once, before the forks. When a capture has ended, a second line says how.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from interp import PromptSet, capture, load_model
from tests.identity.architectures import ragged

PROMPTS = PromptSet.from_tokens(ragged((9, 4, 13, 6) * 15))


def run(model, path):
    """Sixty prompts in about thirty shards, a millisecond or two each."""
    return capture(model, PROMPTS, "resid_post,z.1", out=path, dtype="float16", shard_bytes=4000)


def main() -> None:
    model = load_model(sys.argv[1])
    capture(model, PROMPTS.select([0]), "resid_post,z.1")
    for line in sys.stdin:
        path = Path(line.strip())
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            status = 1
            try:
                run(model, path)
                status = 0
            except KeyboardInterrupt:
                status = 130
            finally:
                os._exit(status)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


if __name__ == "__main__":
    main()
