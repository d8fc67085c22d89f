# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A circuit, from pairs to figure
#
# **Question.** Which edges of a model carry a behaviour, do they carry it on their own, and would the same search
# have found as much where there is nothing?
#
# A pair is a clean prompt, and a corrupted one that is the same but for what decides the answer. The shipped model
# `induction` was written by hand, so its true edges are known.

# %%
import interp
from interp import circuits

bed = interp.testbeds.path("induction")
model = interp.load_model(bed)
pairs = circuits.load_pairs(bed / "pairs.jsonl", model.tokenizer)
print(pairs)
print("clean:    ", pairs.clean.texts[1])
print("corrupted:", pairs.corrupted.texts[1])
print("answers:  ", model.tokenizer.decode(pairs.answers[1]), "| wrong:", model.tokenizer.decode(pairs.wrong[1]))

# %% [markdown]
# ## The study
#
# One call. It asks first whether the model does the task at all. Edges are scored on one half of the pairs and judged
# on the other. Every line is a claim, with what it was compared with. (Half of the pairs, one search with shuffled
# partners and 50 replicates keep this short.)

# %%
half = pairs.select(slice(0, 52))
study = circuits.circuit_study(model, half, top=4, check=4, sample=20, shuffles=1, replicates=50)
study.summary

# %% [markdown]
# The line that does not hold is about power: none of the sampled edges below the circuit matters, but with so few of
# them a good many could still be missed. The last two lines are nulls. The same search with shuffled corrupted
# partners, and in an untrained copy, gives edges that keep less.

# %%
interp.plots.image(study.reports["circuit-edges"])

# %% [markdown]
# ## Is it right?
#
# Here we can look: what was planted, and what was found.

# %%
planted = {edge.name: edge.why for edge in interp.testbeds.truth("induction").edges if edge.true}
for name, why in planted.items():
    print("found " if name in study.circuit.names else "MISSED", name, "-", why)
print("found and not planted:", set(study.circuit.names) - set(planted) or "none")

# %% [markdown]
# How much of the behaviour do circuits of growing size keep, beside all other edges and random ones?

# %%
interp.plots.image(study.reports["circuit"])

# %% [markdown]
# ## When one edge at a time is not enough
#
# In `or_gate` two heads stand in for each other. Ablating either changes nothing, so *exact* ablation of single edges
# sees only the last one. Integrated gradients pass through the middle, where both matter.

# %%
gate = interp.load_model(interp.testbeds.path("or_gate"))
both = circuits.load_pairs(interp.testbeds.path("or_gate") / "pairs.jsonl", gate.tokenizer)
alone = circuits.exact(gate, both, replicates=0)
paths = circuits.attribute(gate, both, method="eap-ig", replicates=0)
print(f"{'planted edge':18} {'exact':>8} {'EAP-IG':>8}   (logits)")
for edge in interp.testbeds.truth("or_gate").edges:
    if edge.true:
        print(f"{edge.name:18} {alone[edge.name]:8.2f} {paths[edge.name]:8.2f}")

# %% [markdown]
# Minimality shows it from the other side: of the five edges together most can be spared, one at a time.

# %%
quick = {"shuffles": 0, "untrained": False, "replicates": 50}
redundant = circuits.circuit_study(gate, both, top=5, check=5, sample=10, **quick)
redundant.reports["minimality"]

# %% [markdown]
# ## Your own pairs
#
# The same call takes rows at hand, a JSONL or a CSV file. Two rules: both prompts have as many tokens (or
# `align=True`), and the right answer is told from the wrong one by its first token. Here are eight pairs made up on
# the spot: the words that may be the answer change places.

# %%
words = ["cat dog", "hat key", "owl lamp", "bee book", "fox coin", "hen bell", "crow fork", "seal rope"]
values = [
    {
        "clean": f"chair {right} spoon {wrong} chair",
        "corrupted": f"chair {wrong} spoon {right} chair",
        "answer": f" {right}",
        "wrong_answer": f" {wrong}",
        "group": right,
    }
    for right, wrong in map(str.split, words)
]
mine = circuits.load_pairs(values, model.tokenizer)
own = circuits.circuit_study(model, mine, top=4, check=4, sample=10, **quick)
print(mine)
print(own.summary.headline)
for warning in own.summary.warnings:
    print("Warning:", warning)
interp.plots.table(own.reports["circuit-edges"], ["edge", "score"])

# %% [markdown]
# Fewer edges do the work than before. The place that is looked up is the same in both prompts, so that nothing on the
# way to *finding* it can matter: a circuit is one of the model *and* of what the pairs change. Add pairs in which the
# words that stand before them change places instead, and the edges that find the place come back.

# %%
keys = [
    {**row, "corrupted": f"spoon {right} chair {wrong} chair"}
    for row, (right, wrong) in zip(values, map(str.split, words), strict=True)
]
print(values[0]["clean"], "|", values[0]["corrupted"], "|", keys[0]["corrupted"])
all_pairs = circuits.load_pairs(values + keys, model.tokenizer)
own = circuits.circuit_study(model, all_pairs, top=4, check=4, sample=10, **quick)
print(own.summary.headline)
print("the planted edges:", set(own.circuit.names) == set(planted))
interp.plots.table(own.reports["circuit-edges"], ["edge", "score"])

# %% [markdown]
# **Answer.** With pairs that change both what is looked up and where, the search finds the planted edges and no
# others. Alone they keep the behaviour on pairs that they were not chosen on, and without them nothing is left. Where
# parts stand in for each other, ask with more than one method; and what the pairs leave the same, no method can see.
#
# From a shell, with the figure as SVG and PDF, a page, and the circuit in the schema of the MIB benchmark: `interp
# circuit MODEL pairs.jsonl --top 50 --out circuit`.

# %%
interp.plots.image(own.reports["circuit-edges"])
