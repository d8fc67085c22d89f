"""What was stored is what is read: every dtype, by our reader and by the formats' own."""

from __future__ import annotations

import ast
import json
import os
import stat
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from interp.errors import ActivationError, StoreError
from interp.store import Examples, Quantised, RowIndex, StoreWriter, describe, open_store, plan_shards, quantise
from interp.store.quantise import STORED, cast_for_storage, quantisation_error, stored_dtype
from tests.store.building import PROVENANCE, all_values, shard_index, tiny, write

PLAIN = ["float32", "float16", "bfloat16"]


@pytest.mark.parametrize("dtype", PLAIN)
def test_floats_come_back_bit_for_bit(dtype: str, scratch: Path) -> None:
    options = tiny(dtype)
    write(scratch / "s", options)
    acts = open_store(scratch / "s")
    for site in options["sites"]:
        wanted = all_values(options, site).to(STORED[dtype].native)
        assert acts[site].dtype == wanted.dtype
        assert torch.equal(acts[site].tensor(), wanted)
        shuffled = torch.randperm(len(acts))
        assert torch.equal(acts[site][shuffled], wanted[shuffled])
        assert torch.equal(acts[site][3:20], wanted[3:20])


def test_special_values_survive(scratch: Path) -> None:
    options = {**tiny("bfloat16", lengths=(4,), shards=1), "sites": {"embed": 2}}
    values = torch.tensor([[float("nan"), float("inf")], [-float("inf"), -0.0], [1e-40, 3e38], [0.0, 1.0]])
    with StoreWriter.open(scratch / "s", **options) as writer:
        writer.commit(0, {"embed": values}, shard_index(options, 0))
        writer.finish()
    read = open_store(scratch / "s")["embed"].tensor()
    assert torch.equal(read.view(torch.int16), values.to(torch.bfloat16).view(torch.int16))


def test_int8_is_off_by_at_most_half_a_step_and_reports_its_error(scratch: Path) -> None:
    options = tiny("int8")
    write(scratch / "s", options)
    acts, summary = open_store(scratch / "s"), describe(scratch / "s")
    for site in options["sites"]:
        x, read = all_values(options, site), acts[site].tensor()
        assert read.dtype == acts[site].dtype == torch.float32
        step = x.abs().amax(dim=1, keepdim=True) / 127
        assert ((x - read).abs() <= step / 2 * 1.0001).all()
        shuffled = torch.randperm(len(acts))
        assert torch.equal(acts[site][shuffled], read[shuffled])
        assert summary.int8_error is not None
        relative = float((x - read).norm() / x.norm())
        assert 0 < relative < 0.01
        assert summary.int8_error[site] == pytest.approx(relative, rel=0.5)


def test_int8_rows_that_are_zero_tiny_or_not_finite() -> None:
    x = torch.tensor(
        [[0.0, 0.0], [1e-44, -1e-44], [1e-30, -2e-30], [3e38, -1.0], [float("nan"), 1.0], [1.0, float("inf")]]
    )
    q = quantise(x)
    read = q.values.float() * q.scale[:, None]
    assert torch.equal(read[0], torch.zeros(2))
    assert (read[1]).abs().max() < 1e-35
    assert ((read[2:4] - x[2:4]).abs() <= x[2:4].abs().amax(dim=1, keepdim=True) / 253).all()
    assert torch.isnan(read[4:]).all()
    assert quantisation_error(x[4:], quantise(x[4:])) == 0.0
    assert quantise(torch.zeros(0, 3)).values.shape == (0, 3)


def test_rows_that_are_quantised_already_are_stored_as_they_are(scratch: Path) -> None:
    options = {**tiny("int8", lengths=(2,), shards=1), "sites": {"embed": 3}}
    x = torch.randn(2, 3)
    q = quantise(x)
    with StoreWriter.open(scratch / "s", **options) as writer:
        writer.commit(0, {"embed": Quantised(q.values, q.scale, error=0.25)}, shard_index(options, 0))
        writer.finish()
    assert torch.equal(open_store(scratch / "s")["embed"].tensor(), q.values.float() * q.scale[:, None])
    assert describe(scratch / "s").int8_error == {"embed": 0.25}


def test_a_number_that_the_stored_dtype_cannot_hold_is_refused(scratch: Path) -> None:
    options = {**tiny("float16", lengths=(2,), shards=1), "sites": {"resid_post.3": 2}}
    with StoreWriter.open(scratch / "s", **options) as writer:
        with pytest.raises(
            ActivationError, match=r"shard 0, site resid_post.3 reaches 70000, which float16 cannot hold"
        ):
            writer.commit(0, {"resid_post.3": torch.tensor([[1.0, -70000.0], [0.0, 0.0]])}, shard_index(options, 0))
        assert writer.missing() == (0,)
    with pytest.raises(ActivationError, match=r"torch\.int64"):
        cast_for_storage(torch.zeros(1, 1, dtype=torch.int64), stored_dtype("float32"), "x")
    with pytest.raises(StoreError, match="cannot store activations as 'float64'"):
        stored_dtype(torch.float64)


@pytest.mark.parametrize("dtype", [*PLAIN, "int8"])
def test_other_readers_of_the_formats_agree(dtype: str, scratch: Path) -> None:
    options = tiny(dtype)
    write(scratch / "s", options)
    acts = open_store(scratch / "s")
    start = 0
    for shard in options["plan"]:
        file = next(scratch.glob(f"s/shard-{shard.k:05d}-*.safetensors"))
        tensors = safetensors.torch.load_file(file)
        for site in options["sites"]:
            values = tensors[site].float()
            if dtype == "int8":
                values = values * tensors[f"{site}:scale"][:, None]
            assert torch.equal(values, acts[site][start : start + shard.rows].float())
        table = pq.read_table(next(scratch.glob(f"s/shard-{shard.k:05d}-*.parquet")), page_checksum_verification=True)
        assert table["example"].to_pylist() == acts.index.example[start : start + shard.rows].tolist()
        assert set(table.column_names) == {"example", "position", "mark", "token", "special"}
        start += shard.rows


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664), (0o077, 0o600)])
def test_files_have_the_permissions_of_the_umask(mask: int, mode: int, scratch: Path) -> None:
    old = os.umask(mask)
    try:
        write(scratch / "s", tiny(shards=2))
    finally:
        os.umask(old)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (scratch / "s").iterdir()}
    assert set(modes.values()) == {mode}, modes


def test_values_do_not_depend_on_the_run_that_wrote_them(scratch: Path) -> None:
    hashes = {write(scratch / str(i), tiny("bfloat16")) for i in range(2)}
    assert len(hashes) == 1
    names = [sorted(f.name for f in (scratch / str(i)).iterdir()) for i in range(2)]
    assert names[0] == names[1]
    assert write(scratch / "other", tiny("float16")) not in hashes


def test_maps_are_read_only(scratch: Path) -> None:
    write(scratch / "s", tiny())
    rows = open_store(scratch / "s")["z.1"]
    array = rows.source.maps.arrays(0)["z.1"]
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1.0
    copy = rows[:2]
    copy += 1  # what is handed out is a copy
    assert not torch.equal(copy, rows[:2])


def test_rows_without_tokens_and_sites_without_rows(scratch: Path) -> None:
    """Examples that lack a mark have no row; a shard may then be empty of some examples."""
    examples = Examples(ids=("a", "b", "c"))
    plan = plan_shards([0, 2, 0], bytes_per_row=4, shard_bytes=4)
    options = {"provenance": PROVENANCE, "sites": {"embed": 1}, "dtype": "float32", "at": "last", "examples": examples}
    with StoreWriter.open(scratch / "s", plan, **options) as writer:
        index = RowIndex.build([1, 1], [0, 1], [5, 6], marks=["t_inst", "last"])
        writer.commit(0, {"embed": torch.ones(2, 1)}, index)
        writer.finish()
    acts = open_store(scratch / "s")
    assert acts.at("last").index.position.tolist() == [1]
    assert acts.index.marks.tolist() == ["t_inst", "last"]


LABELS = {
    "bools": np.array([True, False, True]),
    "ints": np.array([3, -1, 2**40]),
    "floats": np.array([0.5, np.nan, -np.inf]),
    "texts": np.array(["x", "", "Ünïcode\n"]),
    "objects": np.array(["x", None, 3], dtype=object),
    "small": np.array([1, 2, 255], dtype=np.uint8),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_kind_survive(kind: str, scratch: Path) -> None:
    labels = LABELS[kind]
    examples = Examples(("a", "b", "ç"), labels=labels, columns={"more": labels}, marks={"last": np.array([1, -1, 0])})
    back = Examples.from_parquet(examples.to_parquet())
    for found in (back.labels, back.columns["more"]):
        assert found is not None
        assert found.dtype.kind == ("i" if kind == "small" else labels.dtype.kind)
        np.testing.assert_array_equal(found, labels)
    assert back.ids == examples.ids
    assert back.marks["last"].tolist() == [1, -1, 0]
    assert back.pairs is None
    assert back.hash == examples.hash
    assert back.hash != Examples(("a", "b", "c")).hash


def test_labels_that_cannot_be_stored_are_named() -> None:
    with pytest.raises(StoreError, match=r"'labels' .* cannot be stored"):
        Examples(("a",), labels=np.array([{1, 2}], dtype=object)).to_parquet()
    with pytest.raises(ActivationError, match="'b' appears twice"):
        Examples(("a", "b", "b"))
    with pytest.raises(ActivationError, match="'groups' has 1 entries for 2"):
        Examples(("a", "b"), groups=np.array(["g"]))


def test_nothing_is_pickled(scratch: Path) -> None:
    source = Path(__file__).parents[2] / "interp" / "store"
    for file in source.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            called = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
            is_torch = called in ("load", "save") and getattr(node.func.value, "id", "") in ("torch", "np", "numpy")
            assert not is_torch, f"{file.name}: {called}"
            assert not {"pickle", "cloudpickle", "dill", "joblib"} & set(names), file.name
    write(scratch / "s", tiny())
    for file in (scratch / "s").iterdir():
        first = file.read_bytes()[:4]
        assert first[:2] != b"\x80\x04", file.name
        if file.suffix == ".parquet":
            assert first == b"PAR1"
        elif file.suffix != ".safetensors":
            json.loads(file.read_bytes().splitlines()[0] if file.suffix == ".jsonl" else file.read_bytes())
