"""``interp testbed``: models whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass
class ListBeds:
    """List the test beds and where each lies.

    Example: interp testbed list
    """

    def __call__(self) -> int:
        """Run the command; its exit code."""
        from .. import testbeds

        for name in testbeds.names():
            print(f"{name:12} {testbeds.path(name)}")
        return 0


@dataclass
class BuildBed:
    """Build a test bed anew: the same seed gives the same bytes.

    Example: interp testbed build induction --seed 0 --out my-induction
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Which one; `interp testbed list` names them."""
    out: Path | None = None
    """Directory to write; by default ./NAME."""
    seed: int = 0
    """Seed of everything that is random in it."""

    def __call__(self) -> int:
        """Run the command; its exit code."""
        from .. import testbeds

        made = testbeds.build(self.name, self.out or Path(self.name), seed=self.seed)
        more = f", or try: interp doctor {made}" if (made / "config.json").is_file() else ""
        print(f"built {self.name} in {made}; look at its README.md{more}")
        return 0


@dataclass
class Testbed:
    """Models whose truth is planted: list them, or build one anew.

    Example: interp testbed list
    """

    command: Annotated[
        Annotated[ListBeds, tyro.conf.subcommand("list")] | Annotated[BuildBed, tyro.conf.subcommand("build")],
        tyro.conf.arg(name=""),
    ]

    def __call__(self) -> int:
        """Run the command; its exit code."""
        return self.command()
