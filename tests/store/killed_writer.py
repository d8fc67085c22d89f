"""A process that forks writers on demand, so that a test can kill them: one line "PATH" in, the writer's number out.

Libraries load here, once, so that the writers differ in nothing but the moment at which they die. When a writer has
ended, a second line says how.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.store.building import tiny, write

OPTIONS = tiny(lengths=(2,) * 40, shards=40)


def main() -> None:
    with tempfile.TemporaryDirectory() as path:
        write(Path(path) / "store", tiny(lengths=(1,), shards=1))
    for line in sys.stdin:
        path = Path(line.strip())
        child = os.fork()
        if child == 0:
            status = 1
            try:
                write(path, OPTIONS)
                status = 0
            finally:
                os._exit(status)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(status, flush=True)


if __name__ == "__main__":
    main()
