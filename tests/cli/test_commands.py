"""Every command as a user types it: exit codes, what is printed, what is written, and the errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from interp import testbeds
from interp.cli import main
from interp.cli.commands import COMMANDS
from interp.provenance import Provenance
from interp.report import Report

BED = testbeds.path("induction")


def run(*args: object) -> int:
    return main([str(a) for a in args])


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few of the shipped prompts: six answers, both classes."""
    lines = (BED / "prompts.jsonl").read_text().splitlines()
    groups = sorted({json.loads(line)["group"] for line in lines})[:6]
    path = tmp_path_factory.mktemp("cli") / "some.jsonl"
    path.write_text("\n".join(line for line in lines if json.loads(line)["group"] in groups))
    return path


@pytest.mark.parametrize("name", [*COMMANDS, "testbed list", "testbed build", "bench capture"])
def test_help_teaches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        run(*name.split(), "--help")
    assert done.value.code in (0, None)
    text = capsys.readouterr().out
    assert "Example: interp" in text
    assert f"usage: interp {name}" in text


def test_no_command_prints_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run()
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert text.count("\n") < 3 * len(COMMANDS) + 10, "a list, not every command's whole help"


def test_help_is_the_same_list(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for asked in ((), ("--help",), ("-h",)):
        with pytest.raises(SystemExit) as done:
            run(*asked)
        assert done.value.code == 0
        texts.append(capsys.readouterr().out)
    assert len(set(texts)) == 1


def test_a_probe_without_labels_names_the_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.csv").write_text("text,child,name\nf g ,girl,Ann\n")
    assert run("probe", BED, tmp_path / "own.csv", "--out", tmp_path / "out") == 2
    assert "name its field with --label (its fields besides the text: child, name)" in capsys.readouterr().err


def test_help_into_a_closed_pipe_is_quiet() -> None:
    done = subprocess.run(
        f"{sys.executable} -m interp --help | true; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr


def test_doctor_passes_and_writes_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", BED, "--json", tmp_path / "doctor.json") == 0
    assert "passes all" in capsys.readouterr().out
    assert Report.load(tmp_path / "doctor.json").kind == "doctor"


def test_doctor_fails_on_a_model_that_padding_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model whose output depends on the batch must be caught, and the exit code say so."""
    from interp.models import Model

    wrap = Model.wrap.__func__

    def leaky(cls: type[Model], hf: Any, *args: Any, **kwargs: Any) -> Model:
        block = hf.transformer.h[0]
        inner = block.forward
        block.forward = lambda x, *a, **k: inner(x + 0.01 * x.mean(dim=(0, 1), keepdim=True), *a, **k)
        return wrap(cls, hf, *args, **kwargs)

    monkeypatch.setattr(Model, "wrap", classmethod(leaky))
    assert run("doctor", BED) == 1
    out = capsys.readouterr().out
    assert "FAIL  right padding changes nothing" in out


def test_capture_verify_show_repair(tmp_path: Path, prompts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "acts"
    capture = ("capture", BED, prompts, "--sites", "resid_post.0,resid_post.-1", "--out", store, "--dtype", "float16")
    assert run(*capture) == 0
    assert run("verify", store) == 0
    first = capsys.readouterr().out
    assert run("show", store) == 0
    shown = capsys.readouterr().out
    assert "resid_post.0 [128], resid_post.1 [128]" in shown
    assert "float16" in shown
    (shard,) = store.glob("shard-*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1])
    assert run("verify", store) == 1
    assert shard.name in capsys.readouterr().out
    assert run("verify", store, "--repair") in (0, 1)
    assert run(*capture) == 0
    assert run("verify", store) == 0
    assert first.splitlines()[-1] in capsys.readouterr().out  # the same result hash


def test_probe_writes_everything_and_the_probe_refuses_another_model(
    tmp_path: Path, prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from interp import Probe, load_model
    from interp.errors import ProvenanceError

    out = tmp_path / "out"
    quick = ("--permutations", "19", "--bootstrap", "200", "--folds", "3")
    assert run("probe", BED, prompts, "--sites", "resid_post", "--out", out, *quick) == 0
    printed = capsys.readouterr().out
    assert "resid_post.1" in printed
    assert printed.rstrip().endswith(str(out / "report.html"))
    files = {p.name for p in out.iterdir()}
    assert files == {
        "report.html", "report.json", "report.csv", "figure.svg", "figure.pdf", "probe.safetensors", "inputs.json",
    }  # fmt: skip
    report = Report.load(out / "report.json")
    rows = {row["site"]: row for row in report.rows}
    assert rows["resid_post.1"]["auc"] > 0.95 > 0.8 > rows["resid_post.0"]["auc"]
    model = load_model(BED)
    probe = Probe.load(out / "probe.safetensors", model_fingerprint=model.fingerprint)
    assert str(probe.direction.site) == "resid_post.1"
    with pytest.raises(ProvenanceError, match="was made with model"):
        Probe.load(out / "probe.safetensors", model_fingerprint=model.untrained(0).fingerprint)


@pytest.mark.parametrize("bad, message", [
    (("doctor", "no/such/model/here"), "there is no directory"),
    (("capture", BED, "missing.jsonl", "--out", "x"), "missing.jsonl"),
    (("capture", BED, BED / "prompts.jsonl", "--sites", "resid_post.7", "--out", "x"), "layers 0 to 1"),
    (("capture", BED, BED / "prompts.jsonl", "--sites", "nonsense", "--out", "x"), "unknown site kind 'nonsense'"),
    (("capture", BED, BED / "prompts.jsonl", "--at", "verb", "--out", "x"), "no mark 'verb'"),
    (("verify", "nowhere"), "nowhere"),
    (("testbed", "build", "nothing"), "no test bed 'nothing'"),
])  # fmt: skip
def test_errors_name_the_value_and_end_with_2(
    bad: tuple[object, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*bad) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "x").exists()


def test_one_class_is_refused(tmp_path: Path, prompts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = tmp_path / "one.jsonl"
    one.write_text("\n".join(line for line in prompts.read_text().splitlines() if '"label": "animal"' in line))
    assert run("probe", BED, one, "--out", tmp_path / "out") == 2
    assert "animal" in capsys.readouterr().err


def test_an_interrupt_says_what_is_true_of_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from interp.cli.commands import COMMANDS

    def stop(self: object) -> int:
        raise KeyboardInterrupt

    arguments = {
        "capture": ("x", "y", "--out", "z"),
        "verify": ("x",),
        "memorisation": ("x", "y", "--out", "z"),
        "erase": ("x", "y", "--neutral", "t", "--out", "z"),
        "inject": ("x", "--out", tmp_path / "z"),
    }
    said = {}
    for name, given in arguments.items():
        monkeypatch.setattr(COMMANDS[name], "__call__", stop)
        assert run(name, *given) == 130
        said[name] = capsys.readouterr().err
    assert "what was committed is safe, and the same command resumes" in said["capture"]
    for name in ("verify", "memorisation", "erase"):
        assert said[name] == "interp: interrupted; the same command starts from the beginning\n"
    assert "no checkpoint had been written" in said["inject"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("interp 0.")


def test_tracking_logs_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tracker is a fake that remembers; that the real one accepts this is tried by hand (WANDB_MODE=offline)."""
    from interp.cli.tracking import track

    seen: dict[str, Any] = {}
    fake_run = types.SimpleNamespace(log=seen.update, summary={}, url=None, dir="somewhere", finish=lambda: None)
    fake = types.SimpleNamespace(
        init=lambda **k: seen.update(init=k) or fake_run,
        Table=lambda columns, data: (columns, data),
        Error=RuntimeError,
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)
    rows = ({"site": "embed", "auc": 0.5}, {"site": "resid_post.0", "auc": 0.9})
    report = Report("probe", "t", "h", rows, Provenance(model="m", model_id="m"))
    assert track(report, "proj") == "somewhere"
    assert seen["rows"] == (["auc", "site"], [[0.5, "embed"], [0.9, "resid_post.0"]])
    assert seen["init"]["project"] == "proj"
    assert fake_run.summary == {"headline": "h"}


def test_import_of_the_command_line_is_light() -> None:
    code = "import sys, interp.cli.commands; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0
