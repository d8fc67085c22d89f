"""Models whose truth is known: does a method find what is there, and nothing where nothing is?

>>> from interp import testbeds
>>> "induction" in testbeds.names()
True
>>> [edge.name for edge in testbeds.truth("induction").edges if edge.true][:2]
['input->a0.h0<v>', 'input->a1.h0<v>']
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from ..errors import BedError

if TYPE_CHECKING:
    from .null_data import NullData

# Name -> the subpackage that makes it; it has `build(out, seed, **options)` and `truth(folder)`.
_BEDS = {
    "chat": "chat",
    "conflict": "conflict",
    "induction": "induction",
    "memory": "memory",
    "modadd": "modadd",
    "needle": "needle",
}
# Circuits written by hand.
_BEDS |= {name: f"handmade.{name}" for name in ("and_gate", "fraction", "or_gate")}

# Siblings of a bed, which its build makes too -> their folders.
_SIBLINGS = {
    "chat-think": "chat/think",
    "chat-tuned": "chat/tuned",
    "chat-never": "chat/never",
    "memory-never": "memory/never",
    "memory-injected": "memory/injected",
}

_HERE = Path(__file__).resolve().parent.parent
# In a clone the shipped files lie beside the package, in a wheel inside it.
_DATA = _HERE.parent / "data" if (_HERE.parent / "pyproject.toml").is_file() else _HERE / "_data"


@runtime_checkable
class Bed(Protocol):
    """What the subpackage of a test bed offers."""

    def build(self, out: Path, seed: int, **options: Any) -> None:
        """Write the model, its tokenizer, prompts, truth and card into ``out``."""

    def truth(self, folder: Path) -> Any:
        """Read what was planted, from a folder that `build` wrote."""


def names() -> tuple[str, ...]:
    """Every test bed that there is."""
    return tuple(sorted(_BEDS))


def path(name: str) -> Path:
    """The folder of a shipped test bed: an ordinary Hugging Face checkpoint with prompts and truth beside it.

    (`modadd` is no language model; `testbeds.modadd.load` reads it.)

    `memory-never` and `memory-injected` are siblings of `memory`, made with it; `chat-think`, `chat-tuned` and
    `chat-never` are those of `chat`.

    Raises:
        BedError: there is no such test bed, or this installation lacks its files.

    >>> sorted(p.name for p in path("induction").glob("*.safetensors"))
    ['model.safetensors']
    """
    if name not in _SIBLINGS:
        _require(name)
    folder = _DATA / _SIBLINGS.get(name, name)
    if not (folder / "model.safetensors").is_file():
        made_by = name.split("-")[0] if name in _SIBLINGS else name
        raise BedError(
            f"test bed {name!r} is not in this installation ({folder}); make it: interp testbed build {made_by}"
        )
    return folder


def build(name: str, out: str | Path, *, seed: int = 0, **options: Any) -> Path:
    """Make a test bed from nothing, the same bytes for the same seed and options; return its folder.

    Raises:
        BedError: there is no such test bed, an option is wrong, or ``out`` holds something already.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = build("induction", folder + "/bed", seed=0)
    ...     (made / "model.safetensors").read_bytes() == (path("induction") / "model.safetensors").read_bytes()
    True
    """
    bed = _require(name)
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise BedError(f"{out} is not empty; name a new folder, so that nothing is overwritten")
    out.mkdir(parents=True, exist_ok=True)
    bed.build(out, seed, **options)
    return out


def truth(name: str, folder: str | Path | None = None) -> Any:
    """What was planted in a test bed, as a frozen value: in the shipped one, or in a ``folder`` that `build` wrote.

    Raises:
        BedError: there is no such test bed, or the folder holds no readable truth.
    """
    return _require(name).truth(path(name) if folder is None else Path(folder))


def nulls() -> dict[str, Callable[[int], NullData]]:
    """Name -> generator (seed -> data) of cheap data in which there is nothing to find, each with a trap of its own.

    What holds for every method: on each of these, over many seeds, p < .05 comes up once in twenty or less.

    >>> data = nulls()["twins"](seed=0)
    >>> sorted(data.features), data.labels.tolist()[:4], data.groups.tolist()[:4]
    (['site 0', 'site 1'], [1, 0, 0, 1], [0, 0, 1, 1])
    """
    from .null_data import nulls

    return nulls()


def gap_nulls() -> dict[str, Callable[[int], NullData]]:
    """Name -> generator of data in three pools where M against C is told apart just as well as C against B."""
    from .null_data import gap_nulls

    return gap_nulls()


def signal(seed: int, strength: float = 2.0, *, n_pairs: int = 64) -> NullData:
    """Twins with a signal of known strength at the last site and none at the first; see `NullData.auc`.

    >>> round(signal(0, 2.0).auc["site 1"], 3), signal(0, 2.0).auc["site 0"]
    (0.841, 0.5)
    """
    from .null_data import signal

    return signal(seed, strength, n_pairs=n_pairs)


def _require(name: str) -> Bed:
    if name not in _BEDS:
        raise BedError(f"no test bed {name!r}; there are: {', '.join(names())}")
    return cast(Bed, import_module(f".{_BEDS[name]}", __name__))
