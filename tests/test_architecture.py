"""The shape of the package: who may import whom, who may touch a hook, and what never appears at all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import pytest

PACKAGE = Path(__file__).parents[1] / "interp"
HOOKS = PurePosixPath("models/hooks.py")

# A file imports only from its own floor or below.
FLOORS = [
    {"errors", "sites", "provenance", "report", "stats"},
    {"prompts", "edits"},
    {"models", "store"},
    {"run"},
    {"metrics", "splits", "doctor"},
    {"directions", "probes", "circuits", "weights", "memorisation", "safety", "sae"},
    {"testbeds"},
    {"plots", "bench"},
    {"cli"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
# Beyond the order: these see `run` and values, and a model only as the type of what they hand on to `run`. The store
# knows rows, not models.
NEVER = {**{name: {"models"} for name in FLOORS[5] | {"store"}}, "models": {"store"}}

MAX_LINES = 450
HOOK_CALLS = {
    "add_hook",
    "add_perma_hook",
    "register_backward_hook",
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
    "register_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_multi_grad_hook",
    "register_post_accumulate_grad_hook",
    "run_with_hooks",
}
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


@dataclass(frozen=True)
class Source:
    """One file of the package: its path inside `interp/`, and its text."""

    path: PurePosixPath
    text: str

    @property
    def part(self) -> str:
        """What it belongs to: `store/rows.py` -> `store`."""
        return self.path.parts[0].removesuffix(".py")

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text, str(self.path))))

    @cached_property
    def lines_for_types(self) -> set[int]:
        """The lines under `if TYPE_CHECKING:`."""
        blocks = [n for n in self.nodes if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
        return {line for block in blocks for line in range(block.lineno, block.body[-1].end_lineno + 1)}

    def imports(self) -> Iterator[tuple[int, list[str]]]:
        """(line, absolute dotted name in parts) of every import, wherever in the file it stands."""
        here = ["interp", *self.path.parts[:-1]]
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name.split(".")) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = here[: len(here) - node.level + 1] if node.level else []
                base = base + (node.module.split(".") if node.module else [])
                yield from ((node.lineno, [*base, alias.name]) for alias in node.names)


def wrong_imports(source: Source) -> Iterator[str]:
    """Imports that go up, or to where this part may never go."""
    me = source.part
    for line, name in source.imports():
        other = name[1] if name[0] == "interp" and len(name) > 1 else me
        if other == me or other == "__version__":
            continue
        where = f"{source.path}:{line} imports {other}"
        if other not in FLOOR:
            yield f"{where}, which is on no floor: import from the file that has it, not from interp itself"
        elif FLOOR[other] > FLOOR[me] or (other in {"plots", "cli"} - {me} and me != "cli"):
            yield f"{where}: floor {FLOOR[me]} may not import floor {FLOOR[other]}"
        elif other in NEVER.get(me, ()) and line not in source.lines_for_types:
            yield f"{where}: {me} never imports {other}"


def wrong_calls(source: Source) -> Iterator[str]:
    """Hooks outside models/hooks.py, and everything that reads or writes a pickle."""
    for line, name in source.imports():
        if name[0] in PICKLES:
            yield f"{source.path}:{line} imports {name[0]}: no pickles"
    for node in source.nodes:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        where, called = f"{source.path}:{node.lineno}", ast.unparse(node.func)
        options = {k.arg: ast.unparse(k.value) for k in node.keywords}
        if node.func.attr in HOOK_CALLS and source.path != HOOKS:
            yield f"{where} calls {called}: hooks are registered in {HOOKS} only"
        if called == "torch.save" or (called == "torch.load" and options.get("weights_only") != "True"):
            yield f"{where} calls {called}: write safetensors, and read others' files with weights_only=True"
        if options.get("allow_pickle") == "True":
            yield f"{where} calls {called} with allow_pickle"


SOURCES = [Source(PurePosixPath(p.relative_to(PACKAGE)), p.read_text(encoding="utf-8")) for p in PACKAGE.rglob("*.py")]
INNER = [s for s in SOURCES if s.part not in {"__init__", "__main__"}]


def test_every_file_has_a_floor():
    lost = {s.part for s in INNER} - FLOOR.keys()
    assert not lost, f"give {sorted(lost)} a floor in FLOORS"


def test_imports_go_down():
    assert not (wrong := [text for s in INNER for text in wrong_imports(s)]), "\n".join(wrong)


def test_hooks_live_in_one_file_and_nothing_pickles():
    assert not (wrong := [text for s in SOURCES for text in wrong_calls(s)]), "\n".join(wrong)


def test_files_stay_readable():
    long = {str(s.path): n for s in SOURCES if (n := s.text.count("\n")) > MAX_LINES}
    assert not long, f"over {MAX_LINES} lines: {long}"


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        ("stats.py", "from .run import capture", "floor 0 may not import floor 3"),
        ("probes/fit.py", "def f():\n    from ..models.model import Model", "probes never imports models"),
        (
            "probes/fit.py",
            "if TYPE_CHECKING:\n    pass\nfrom ..models.model import Model",
            "probes never imports models",
        ),
        ("store/rows.py", "from interp.models import Model", "store never imports models"),
        ("testbeds/x.py", "import interp.plots", "floor 6 may not import floor 7"),
        ("run/x.py", "from .. import capture", "on no floor"),
        ("run/x.py", "module.register_forward_hook(f)", "hooks are registered in models/hooks.py only"),
        ("store/x.py", "from joblib import dump", "no pickles"),
        ("store/x.py", "torch.load(path)", "weights_only=True"),
        ("store/x.py", "np.load(path, allow_pickle=True)", "allow_pickle"),
    ],
)
def test_these_tests_see(path, text, fault):
    source = Source(PurePosixPath(path), text)
    found = [*wrong_imports(source), *wrong_calls(source)]
    assert len(found) == 1
    assert fault in found[0]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("run/capture.py", "from ..models.hooks import reading\nfrom . import batches\nimport torch"),
        ("models/hooks.py", "module.register_forward_hook(f)"),
        ("cli.py", "from . import __version__, plots"),
        ("probes/study.py", "if TYPE_CHECKING:\n    from ..models import Model"),
        ("store/x.py", "torch.load(path, weights_only=True)"),
    ],
)
def test_these_tests_let_pass(path, text):
    source = Source(PurePosixPath(path), text)
    assert not [*wrong_imports(source), *wrong_calls(source)]
