"""``interp reproduce``: run the command of a result again, and say whether its numbers came back."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from .reports import told, write_diff

if TYPE_CHECKING:
    from ..report.result import Result

HELP = "run the command by hand if that is what you want"


@dataclass
class Reproduce:
    """Run the command that a result came from again, into a fresh directory, and say whether the numbers came back.

    RESULT is a directory that a command wrote with --out. Its command is read from its reports, parsed as if it had
    been typed, and run in this process, never by a shell. Before that the files that it read are looked at: it refuses
    if one is missing or has changed. If the result was made by another version of interp, it warns and goes on.

    Paths in the command are looked up from --base; without it from the current directory or, if the files are not
    there, from the folder in which the command ran, as far as the result still lies where it was written.

    Exit code 0: every number came back. 1: they did not. 2: it could not be run.

    Example: interp reproduce number --keep number-again
    """

    result: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RESULT")]
    """Directory that a command wrote with --out."""
    keep: Path | None = None
    """Keep the new result in this directory, which must not hold anything yet; by default it is removed."""
    base: Path | None = None
    """The directory from which paths in the command are looked up."""
    out: Path | None = None
    """Also write what differs as an offline page, such as diff.html."""
    tolerance: float = 1e-5
    """Numbers came back when they differ by at most this share of the larger one."""
    rows: int = 24
    """How many changes to print."""
    trust_remote_code: bool = False
    """Allow a stored command to run code that comes with a model, if it asks to."""

    def __call__(self) -> int:
        """Run the command; its exit code."""
        from ..report import compare, load_result

        made = load_result(self.result)
        args = stored(made)
        with ExitStack() as stack:
            fresh = self._fresh(stack)
            again = redirected(args, fresh)
            command = checked(again, fresh, self.trust_remote_code)
            base = self._base(made)
            for warning in warnings(made):
                print(f"warning: {warning}")
            print(f"running: {shlex.join(['interp', *without(args, '--out')])}", flush=True)
            with inside(base):
                self._run(command, again)
            found = compare(made, load_result(fresh), self.tolerance)
            print(f"\n{verdict(found)}\n\nA is {self.result}, B the new result.\n{told(found, self.rows)}")
            kept = "removed again; --keep DIR keeps it" if self.keep is None else self.keep
            print(f"\nnew result: {kept}")
            if self.out is not None:
                print(f"\npage: {write_diff(found, self.out)}")
        return 0 if found.same else 1

    def _fresh(self, stack: ExitStack) -> Path:
        """An empty directory for the new result."""
        from ..errors import ReportError
        from .paths import made_folder

        if self.keep is None:
            return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="interp-"))) / "again"
        if self.keep.exists() and (not self.keep.is_dir() or any(self.keep.iterdir())):
            raise ReportError(f"--keep {self.keep} holds something already; name a new directory")
        made_folder(self.keep)
        return self.keep.resolve()

    def _base(self, made: Result) -> Path:
        """Where paths in the command start.

        Raises:
            ReportError: a file that the command needs is not there, or not as it was.
        """
        from ..errors import ReportError

        if self.base is not None and not self.base.is_dir():
            raise ReportError(f"--base {self.base} is no directory")
        places = [self.base or Path.cwd()]
        if self.base is None and made.inputs is not None and made.inputs.base is not None:
            places.append((self.result / made.inputs.base).resolve())
        if made.inputs is None:
            return places[0]
        wrong = [made.inputs.changed(place) for place in places]
        for place, found in zip(places, wrong, strict=True):
            if not found:
                return place
        # Where most of the files are is where the user meant.
        text = "; ".join(min(wrong, key=len))
        raise ReportError(
            f"cannot run it again as it was: {text}. Put back what it read, or name the directory that its paths start "
            f"from with --base; {HELP}"
        )

    def _run(self, command: Any, args: list[str]) -> None:
        from ..errors import ReportError
        from .running import run

        code = run(command, args)
        if code != 0:
            raise ReportError(f"the command ended with exit code {code} and is not compared")


def stored(made: Result) -> list[str]:
    """The words of a result's command, without ``interp``.

    Raises:
        ReportError: none was stored, or it is not ours.
    """
    from ..errors import ReportError

    if made.command is None:
        raise ReportError(f"{made.where} was made from Python: it holds no command to run again")
    try:
        words = shlex.split(made.command)
    except ValueError as error:
        raise ReportError(f"the command of {made.where} cannot be read: {error}: {made.command!r}") from error
    if len(words) < 2 or words[0] != "interp":
        raise ReportError(f"the command of {made.where} is no command of interp with its options: {made.command!r}")
    return words[1:]


def redirected(args: list[str], out: Path) -> list[str]:
    """The words with another ``--out``, and without a tracker to log to.

    >>> redirected(["probe", "tiny", "--out=x", "--wandb", "study", "--seed", "1"], Path("new"))
    ['probe', 'tiny', '--seed', '1', '--out', 'new']
    """
    return [*without(without(args, "--out"), "--wandb"), "--out", str(out)]


def without(args: list[str], option: str) -> list[str]:
    """The words without an option that takes one value."""
    kept: list[str] = []
    skip = False
    for word in args:
        if skip:
            skip = False
        elif word == option:
            skip = True
        elif not word.startswith(f"{option}="):
            kept.append(word)
    return kept


def checked(args: list[str], out: Path, trust: bool) -> Any:
    """The command, parsed; it must be one that computes a result and writes it to ``out``.

    Raises:
        ReportError: the words are no command of this version, or one that is not run again.
    """
    from ..errors import ReportError
    from .running import parse

    try:
        command: Any = parse(args)
    except SystemExit as error:
        raise ReportError(f"this version of interp does not take the stored command: {shlex.join(args)}") from error
    if getattr(command, "out", None) != out or type(command).__module__ in (__name__, "interp.cli.reports"):
        raise ReportError(f"'interp {args[0]}' writes no result that could be compared; {HELP}")
    if _asks_for_trust(command) and not trust:
        raise ReportError(
            "the stored command runs code that comes with its model (--trust-remote-code); look at it, then give "
            "--trust-remote-code here too"
        )
    return command


def _asks_for_trust(command: Any) -> bool:
    return bool(getattr(command, "trust_remote_code", False) or getattr(
        getattr(command, "loading", None), "trust_remote_code", False
    ))  # fmt: skip


def warnings(made: Result) -> list[str]:
    """What a reader should know before the numbers are compared."""
    from ..provenance import code_version

    found = []
    code = made.summary.provenance.code
    if code != code_version():
        found.append(f"the result was made by interp {code or 'of unknown version'}, and this is {code_version()}")
    if made.inputs is None:
        found.append("the result has no inputs.json: whether the files are those that it was made from is not checked")
    return found


def verdict(found: Any) -> str:
    """Whether the numbers came back, in one sentence."""
    from ..report.diff import listed

    if not found.same:
        return "The numbers did not come back."
    made = listed([source.what for source in found.sources], 6)
    return f"The numbers came back{f', although the two differ in {made}' if made else ''}: {found.compared} compared."


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work from another directory for a while."""
    here = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)
