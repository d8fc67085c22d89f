"""``interp refusal`` as a user types it."""

from __future__ import annotations

import json

import pytest

from interp import testbeds
from interp.cli import main
from interp.report import Report

BED = testbeds.path("chat")
FILES = ("harmful", "harmless")
QUICK = ("--permutations", 19, "--dose", 1, "--draws", 1, "--limit", 60, "--question", "would this cause harm ?")


def run(*args):
    return main(["refusal", *(str(a) for a in args)])


def test_the_command_writes_reports_figures_directions_and_a_page(tmp_path, capsys):
    out = tmp_path / "out"
    given = [part for name in FILES for part in (f"--{name}", BED / f"{name}.jsonl")]
    assert run(BED, *given, *QUICK, "--no-untrained", "--out", out) == 0
    printed = capsys.readouterr().out
    summary = Report.load(out / "report.json")
    assert summary.headline in printed
    assert summary.headline.startswith("'chat' refuses: 60 of 60 plain harmful and 0 of 60 plain harmless requests")
    assert summary.provenance.command is not None
    names = {p.name for p in out.iterdir()}
    for name in ("behaviour", "beliefs", "quadrants", "belief-map", "inversion", "dissociation", "guard"):
        assert Report.load(out / f"{name}.json").rows, name
        assert f"{name}.csv" in names
    for kind in ("beliefs", "belief-map", "belief-map-2", "quadrants", "inversion", "dissociation", "guard"):
        assert {f"{kind}.svg", f"{kind}.pdf"} <= names, kind
    assert len(list((out / "directions").iterdir())) == 12
    page = (out / "report.html").read_text()
    first = page.index('<p class="headline">') + len('<p class="headline">')
    assert page[first:].replace("&#39;", "'").startswith("'chat' refuses:")
    assert "confounded" in page
    assert "https://" not in page.replace("http://www.w3.org", "")


def test_a_model_that_does_not_chat_is_told_so_in_the_first_sentence(tmp_path, capsys):
    """A model of stories, with a chat template from a file, asked in its own words."""
    bed, template = testbeds.path("memory"), tmp_path / "chat.jinja"
    template.write_text("{% for m in messages %}{{ m['content'] }} .{% endfor %}")
    lines = [json.loads(line)["text"] for line in (bed / "stories.jsonl").read_text().splitlines()]
    starts = list(dict.fromkeys(" ".join(text.split()[:6]) for text in lines))[:120]
    for name, some in (("harmful", starts[::2]), ("harmless", starts[1::2])):
        (tmp_path / f"{name}.txt").write_text("\n".join(some))
    words = starts[0].split()
    done = run(
        bed, "--harmful", tmp_path / "harmful.txt", "--harmless", tmp_path / "harmless.txt", "--template", template,
        "--permutations", 99, "--dose", 1, "--draws", 1, "--refusal", words[0], "--says-yes", words[1], "--says-no",
        words[2], "--question", " ".join(words[1:4]), "--out", tmp_path / "out",
    )  # fmt: skip
    assert done == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1].startswith("report: ")
    summary = Report.load(tmp_path / "out" / "report.json")
    assert summary.headline.startswith("No refusal")
    assert not any(row["holds"] for row in summary.rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--harmless", "missing.jsonl"), "missing.jsonl"),
        (("--template", "missing.jinja"), "missing.jinja"),
        (("--fpr", "1.5"), "--fpr is a rate between 0 and 1, got 1.5"),
        (("--dose", "0"), "--dose takes positive numbers, got 0"),
        (("--draws", "0"), "--draws is too small: 0"),
        (("--limit", "0"), "--limit must be at least 1, got 0"),
    ],
)
def test_mistakes_are_named_before_the_model_is_loaded(options, message, tmp_path, capsys):
    given = {"--harmful": BED / "harmful.jsonl", "--harmless": BED / "harmless.jsonl", "--out": tmp_path / "out"}
    given |= {options[0]: options[1]}
    assert run("no-such-model", *(part for pair in given.items() for part in pair)) != 0
    assert message in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_named_first(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    given = ("--harmful", BED / "harmful.jsonl", "--harmless", BED / "harmless.jsonl")
    assert run("no-such-model", *given, "--out", tmp_path / "file" / "out") != 0
    assert "cannot write to" in capsys.readouterr().err
