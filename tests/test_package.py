"""The package as its users meet it: its names, what importing it costs, its version, what a wheel holds."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jaxtyping
import pytest
import torch

import interp
from conftest import CHECKED

ROOT = Path(__file__).parents[1]

PUBLIC = """
    Activations Direction Edit InterpError Model Probe PromptSet Provenance Report Site __version__ ablate add
    capture capture_stats circuits directions doctor forward generate grads load_model load_prompts memorisation
    open_store patch plots probe safety scale testbeds verify
""".split()

HEAVY = {"torch", "numpy", "transformers", "transformer_lens", "sklearn", "scipy", "statsmodels", "plotly", "pandas"}
HEAVY |= {"pyarrow", "matplotlib", "datasets", "kaleido", "wandb"}


def in_fresh_python(code: str) -> str:
    """What a new interpreter prints for `code`; this one has loaded everything already."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_public_names_are_pinned():
    assert interp.__all__ == PUBLIC == sorted(PUBLIC)
    assert set(dir(interp)) >= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_loads(name):
    value = getattr(interp, name)
    assert getattr(value, "__name__", name).split(".")[-1] == name
    assert name.startswith("__") or value.__doc__, f"{name} has no docstring"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'captrue'"):
        _ = interp.captrue


def test_names_stay_what_they_are_when_modules_are_imported_first():
    # A submodule called like a public function would take its place in the package when it is imported.
    code = """
import interp, types, importlib
homes = {n: h for n, h in interp._HOME.items() if h is not None}
for home in set(homes.values()):
    importlib.import_module(f"interp.{home}")
print([n for n in interp._HOME if isinstance(getattr(interp, n), types.ModuleType) != (n not in homes)])
"""
    assert in_fresh_python(code).strip() == "[]"


@pytest.mark.parametrize("module", ["interp", "interp.cli", "interp.errors", "interp.sites", "interp.report"])
def test_importing_loads_nothing_heavy(module):
    code = f"import sys, json, {module}; print(json.dumps(sorted({{n.split('.')[0] for n in sys.modules}})))"
    loaded = set(json.loads(in_fresh_python(code)))
    assert not loaded & HEAVY


def test_types_and_shapes_are_checked_under_pytest_and_only_there():
    from interp.metrics import refusal_score

    with pytest.raises(jaxtyping.TypeCheckError):
        refusal_score(torch.zeros(3, dtype=torch.int64), [1])
    code = "import interp, sys; interp.Site('embed'); print({'jaxtyping', 'beartype'} & set(sys.modules))"
    assert in_fresh_python(code).strip() == "set()"


def test_shapes_are_checked_wherever_they_are_written():
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "interp").rglob("*.py")
        if "from jaxtyping" in path.read_text(encoding="utf-8")
    }
    loose = {m for m in modules if not any(m == c or m.startswith(f"{c}.") for c in CHECKED)}
    assert not {m for m in loose if not m.startswith("interp.plots.")}


def test_version_is_one():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^version = "(.+)"$', text, re.M)[1] == interp.__version__
    assert f"## {interp.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_lock_pins_every_dependency_and_no_machine():
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    lines = [line for line in lock.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; .+)?", line) for line in lines), (
        "name==version ; marker, and nothing else"
    )
    pinned = {line.split("==")[0] for line in lines}
    assert not [name for name in pinned if name.startswith(("nvidia-", "cuda-", "triton"))]
    wanted = [Requirement(text) for text in requires("interp") or []]
    direct = {
        r.name for r in wanted if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in ("dev", "notebooks"))
    }
    assert direct
    assert direct <= pinned, f"`make lock`: {sorted(direct - pinned)} are not in requirements.lock"


def test_dependencies_are_what_the_code_imports():
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    trees = [ast.parse(p.read_text(encoding="utf-8")) for p in (ROOT / "interp").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    imported = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"interp"}
    imported = {{"sklearn": "scikit-learn", "PIL": "pillow"}.get(name, name.replace("_", "-")) for name in imported}
    wanted = [Requirement(text) for text in requires("interp") or []]
    always = {r.name for r in wanted if r.marker is None}
    assert imported <= {r.name for r in wanted}, "an import that pyproject.toml does not name"
    assert always - imported == {"kaleido"}, "only kaleido is used by someone else's hand"


def test_a_wheel_holds_data_and_templates(tmp_path):
    import zipfile

    build = f"next(WheelBuilder('.').build(directory={str(tmp_path)!r}))"
    code = f"from hatchling.builders.wheel import WheelBuilder; print({build})"
    wheel = zipfile.ZipFile(in_fresh_python(code).strip())
    held = set(wheel.namelist())
    assert {
        "interp/py.typed",
        "interp/_data/induction/model.safetensors",
        "interp/_data/induction/prompts.jsonl",
    } <= held
    assert {f"interp/{p.relative_to(ROOT / 'interp')}" for p in (ROOT / "interp").rglob("templates/*")} <= held
    assert not [name for name in held if name.startswith(("tests/", "data/"))]
    wheel.extractall(tmp_path / "site")
    code = "import interp.testbeds as t; print(t.path('induction'))"
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env, check=True
    )
    assert Path(done.stdout.strip()) == tmp_path / "site" / "interp" / "_data" / "induction"
