"""Circuits for other tools: JSON in the schema of the MIB benchmark, and GraphML."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CircuitError
from ..report import write_atomic
from .circuit import Circuit
from .graph import PARTS, Graph
from .nodeset import NodeSet
from .scores import EdgeScores, NodeScores

if TYPE_CHECKING:
    from networkx import MultiDiGraph


def to_mib(scores: EdgeScores, circuit: Circuit, *, d_model: int) -> dict[str, Any]:
    """Scores and circuit as the MIB benchmark's graph files have them: ``cfg``, ``nodes`` and ``edges`` by name.

    ``in_graph`` says of an edge whether it is in the circuit, of a node whether it is on a path from the input to the
    logits inside it. The benchmark gives every query head a key and a value of its own: where several share one, each
    gets an equal part of the edge's score, so that sums stay, and all are in the circuit or none.

    Raises:
        CircuitError: scores and circuit of different graphs, an edge without a score, or a model in which only some
            blocks are parallel, which the schema cannot say.

    Source: MIB, Mueller et al. (arXiv 2504.13151); the files of EAP-IG's graphs.

    >>> import interp
    >>> from interp import circuits
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> pairs = circuits.Pairs.from_tokens([[5, 9, 7, 8, 5]], [[5, 8, 7, 9, 5]], answers=[[9]], wrong=[[8]])
    >>> scores = circuits.attribute(model, pairs, replicates=0)
    >>> found = to_mib(scores, circuits.top_edges(scores, 2), d_model=model.d_model)
    >>> found["nodes"]["a1.h0"], found["edges"]["a1.h0->logits"]["in_graph"]
    ({'in_graph': True}, True)
    """
    graph = scores.graph
    _check(scores, circuit)
    missing = np.argwhere(graph.legal & np.isnan(scores.values))
    if len(missing):
        name = graph.edge(*missing[0].tolist())
        raise CircuitError(
            f"{len(missing)} edges have no score, {name} among them; the schema wants one for every edge"
        )
    cfg = _config(graph, d_model)
    on_path = set(circuit.pruned().nodes) | {"logits"}
    edges: dict[str, Any] = {}
    for column, target in enumerate(graph.targets):
        names = _query_heads(graph, column) or [target]
        for row in range(graph.reach[column]):
            score = float(scores.values[row, column]) / len(names)
            for name in names:
                edge = {"score": score, "in_graph": bool(circuit.mask[row, column])}
                edges[f"{graph.sources[row]}->{name}"] = edge
    nodes = {name: {"in_graph": name in on_path} for name in (*graph.sources, "logits")}
    return {"cfg": cfg, "nodes": nodes, "edges": edges}


def save_mib(scores: EdgeScores, circuit: Circuit, path: str | os.PathLike[str], *, d_model: int) -> Path:
    """Write `to_mib` as JSON.

    Raises:
        CircuitError: as for `to_mib`.
        ReportError: the file cannot be written.
    """
    text = json.dumps(to_mib(scores, circuit, d_model=d_model), indent=1, allow_nan=False) + "\n"
    return write_atomic(path, text.encode("ascii"))


def save_mib_nodes(scores: NodeScores, kept: NodeSet, path: str | os.PathLike[str], *, d_model: int) -> Path:
    """Write node scores in the MIB benchmark's schema: ``nodes`` with ``in_graph`` and ``score``, no ``edges``.

    The benchmark's own loader takes edges that are not listed as those with a score of zero.

    Raises:
        CircuitError: scores of neurons (the benchmark's "neurons" are dimensions of what a node writes, which is
            something else), of another graph, or of a model in which only some blocks are parallel.
        ReportError: the file cannot be written.
    """
    graph = scores.graph
    if scores.level != "node":
        raise CircuitError(f"the benchmark's schema has no MLP {scores.level}s; save the scores as safetensors")
    if graph != kept.graph:
        raise CircuitError("the nodes are of another graph than the scores")
    rows = zip(graph.sources, scores.values.tolist(), kept.mask.tolist(), strict=True)
    nodes = {name: {"in_graph": chosen, "score": score} for name, score, chosen in rows}
    found = {"cfg": _config(graph, d_model), "nodes": {**nodes, "logits": {"in_graph": True}}, "edges": {}}
    return write_atomic(path, (json.dumps(found, indent=1, allow_nan=False) + "\n").encode("ascii"))


def to_networkx(scores: EdgeScores, circuit: Circuit) -> MultiDiGraph:
    """The circuit as a networkx graph: what is known of every node and edge as attributes.

    Nodes have ``kind`` (``input head kv mlp logits``), ``layer`` and ``head``; edges ``part`` (``q k v mlp logits``),
    ``score``, and, where they are known, ``score_lo``, ``score_hi`` and ``frequency``. With grouped queries a group's
    key and value are a node ``kv`` of their own, with edges of part ``group`` and no score to its query heads; where
    experts are told apart, what reads is the mixture, with edges of part ``expert`` to those that write.

    Raises:
        CircuitError: scores and circuit of different graphs.

    >>> import interp
    >>> from interp import circuits
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> pairs = circuits.Pairs.from_tokens([[5, 9, 7, 8, 5]], [[5, 8, 7, 9, 5]], answers=[[9]], wrong=[[8]])
    >>> scores = circuits.attribute(model, pairs, replicates=0)
    >>> sorted(to_networkx(scores, circuits.top_edges(scores, 2)).nodes)
    ['a1.h0', 'input', 'logits']
    """
    from networkx import MultiDiGraph

    _check(scores, circuit)
    graph, made = scores.graph, MultiDiGraph()
    for column, row in np.argwhere(circuit.mask.T).tolist():
        source, target = graph.sources[row], graph.targets[column].split("<")[0]
        part = graph.part_of(column)[1]
        about: dict[str, Any] = {"part": part, "score": float(scores.values[row, column])}
        for name, array in (("score_lo", scores.lo), ("score_hi", scores.hi), ("frequency", circuit.frequency)):
            if array is not None:
                about[name] = float(array[row, column])
        made.add_edge(source, target, key=part, **about)
        for head in _query_heads(graph, column) or []:
            name = head.split("<")[0]
            made.add_edge(target, name, key="group", part="group")
    for name in [n for n in made.nodes if n.startswith("m") and "." in n]:
        made.add_edge(name.split(".")[0], name, key="expert", part="expert")
    for name in made.nodes:
        made.nodes[name].update(_about(graph, name))
    return made


def save_graphml(scores: EdgeScores, circuit: Circuit, path: str | os.PathLike[str]) -> Path:
    """Write `to_networkx` as GraphML.

    Raises:
        CircuitError: as for `to_networkx`.
        ReportError: the file cannot be written.
    """
    from networkx import generate_graphml

    text = "\n".join(generate_graphml(to_networkx(scores, circuit))) + "\n"
    return write_atomic(path, text.encode("utf-8"))


def _config(graph: Graph, d_model: int) -> dict[str, Any]:
    if graph.experts:
        raise CircuitError("experts are told apart, which the schema cannot say; score edges without experts=True")
    if len(set(graph.parallel)) > 1:
        raise CircuitError("some blocks are parallel and some are not, which the schema cannot say")
    return {
        "n_layers": graph.n_layers, "n_heads": graph.n_heads, "parallel_attn_mlp": graph.parallel[0],
        "d_model": d_model,
    }  # fmt: skip


def _check(scores: EdgeScores, circuit: Circuit) -> None:
    if scores.graph != circuit.graph:
        raise CircuitError("the circuit is of another graph than the scores")


def _query_heads(graph: Graph, column: int) -> list[str]:
    """The inputs that a key or value of a group stands for; none for any other target."""
    layer, part, head = graph.part_of(column)
    if part not in PARTS or graph.heads[part] == graph.n_heads:
        return []
    size = graph.n_heads // graph.n_kv_heads
    return [f"a{layer}.h{head * size + i}<{part}>" for i in range(size)]


def _about(graph: Graph, name: str) -> dict[str, Any]:
    if name == "input":
        return {"kind": "input"}
    if name == "logits":
        return {"kind": "logits", "layer": graph.n_layers}
    if name.startswith("m"):
        layer, _, expert = name[1:].partition(".")
        return {"kind": "mlp", "layer": int(layer), **({"expert": expert} if expert else {})}
    layer, _, rest = name[1:].partition(".")
    kind, digits = ("kv", rest[2:]) if rest.startswith("kv") else ("head", rest[1:])
    return {"kind": kind, "layer": int(layer), "head": int(digits)}
