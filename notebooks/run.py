"""Make the notebooks from their .py halves, run them, and keep nothing that depends on the machine or the day.

``python notebooks/run.py`` does all of them, ``python notebooks/run.py 03 05`` those two.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def run(source: Path) -> Path:
    """The notebook of a .py file, with the outputs of a run from top to bottom."""
    import jupytext
    import nbformat
    from nbclient import NotebookClient

    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells, 1):
        cell["id"] = f"cell-{number:02d}"
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", record_timing=False, resources={"metadata": {"path": str(HERE)}}
    ).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata["jupytext"] = {"formats": "ipynb,py:percent"}
    target = source.with_suffix(".ipynb")
    nbformat.validate(notebook)
    target.write_text(nbformat.writes(notebook, version=4) + "\n", encoding="utf-8")
    return target


if __name__ == "__main__":
    # As the tests run them: no network, and one thread, which small models are fastest with.
    os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "OMP_NUM_THREADS": "1"})
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm asks for ipywidgets, and names its own path
    wanted = tuple(sys.argv[1:]) or ("",)
    for path in sorted(HERE.glob("[0-9]*.py")):
        if path.name.startswith(wanted):
            start = time.perf_counter()
            made = run(path)
            print(f"{made.name}: {time.perf_counter() - start:.0f} s, {made.stat().st_size / 1024:.0f} KB")
