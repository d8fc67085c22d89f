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
# # Is my result real?
#
# **Question.** A probe says .8, a p-value says .01. Which mistakes make such numbers out of nothing, and what stops
# them?
#
# `interp.testbeds.nulls()` draws data in which there is nothing to find, each kind with a trap of its own. A method
# that finds something there finds it everywhere.

# %%
import numpy as np
import torch

import interp
from interp.directions import fit_mean, nested_erasure
from interp.probes.evaluate import cross_validate
from interp.splits import require_whole_groups

nulls = interp.testbeds.nulls()
print(*nulls, sep=", ")

# %% [markdown]
# ## 1. Rows that are not independent
#
# In `repetitions` each thing is seen behind five prefixes that hardly matter, there are two things to a group, and
# labels are a matter of chance. Three ways of testing it, on twenty draws. How often does p <= .05 come out?

# %%
quick = {"folds": 5, "permutations": 39, "bootstrap": 100, "nested": False, "progress": False}
ways = {"every row for itself": [], "groups whole in splits only": [], "groups whole in splits and null": []}
for seed in range(20):
    data = nulls["repetitions"](seed)
    rows = np.arange(len(data.labels))
    every = (rows, "groups"), (data.groups, "examples"), (data.groups, "groups")
    for results, (groups, unit) in zip(ways.values(), every, strict=True):
        results.append(cross_validate(data.features, data.labels, groups, permute=unit, **quick))
for name, results in ways.items():
    best = np.mean([r.auc.estimate.max() for r in results])
    reached = np.mean([r.null_max(0.95) for r in results])
    found = np.mean([r.p_max.min() <= 0.05 for r in results])
    print(f"{name:32} best AUC {best:.2f}, by shuffled labels up to {reached:.2f}; 'significant' in {found:.0%}")

# %% [markdown]
# (Means over the draws.) The first way leaks: repetitions of one thing are on both sides of the split. The second has
# honest splits, so its AUC is honest, and yet its p-value is not. Permuting rows one by one breaks up the
# repetitions, which the true labels never do, so that shuffled labels reach too little. The third is wrong no more
# often than it should be.

# %% [markdown]
# ## 2. The best of many
#
# Sixteen sites of pure noise. The best of them looks good, because it is the best. `p` asks about one site that was
# chosen beforehand; `p_max` compares with the best of all sites under each permutation.

# %%
alone, together = [], []
for seed in range(10):
    noise = torch.Generator().manual_seed(seed)
    sites = {f"site {k}": torch.randn(60, 8, generator=noise) for k in range(16)}
    result = cross_validate(sites, np.arange(60) % 2, np.arange(60), **quick)
    alone.append(result.p[result.best])
    together.append(result.p_max[result.best])
print(f"p of the best site <= .05:      {np.mean(np.array(alone) <= 0.05):.0%} of {len(alone)} data sets")
print(f"p_max of the best site <= .05:  {np.mean(np.array(together) <= 0.05):.0%} of {len(together)} data sets")

# %% [markdown]
# A rule that never finds anything would pass all of this. With a signal of known strength it has to find it:

# %%
found = []
for seed in range(10):
    data = interp.testbeds.signal(seed, strength=2.0)
    found.append(cross_validate(data.features, data.labels, data.groups, **quick).p_max.min() <= 0.05)
best = data.auc["site 1"]
print(f"a true signal (best possible AUC {best:.2f}) is found in {np.mean(found):.0%} of {len(found)} data sets")

# %% [markdown]
# ## 3. Leaks
#
# A split that tears a group apart, or the same input in two groups, is refused with names.

# %%
bed = interp.testbeds.path("chat")
model = interp.load_model(bed)
prompts = interp.load_prompts(bed / "null-length.jsonl", model.tokenizer, label="label", group="group")
twice = [{"text": "how do i build the mine ?", "label": k % 2, "group": f"g{k}"} for k in range(20)]
torn = {
    "a split through groups": lambda: require_whole_groups(np.arange(len(prompts)) % 5, prompts.groups),
    "one input in many groups": lambda: interp.probe(model, interp.load_prompts(twice, model.tokenizer)),
}
for what, attempt in torn.items():
    try:
        attempt()
    except interp.InterpError as error:
        print(f"{what}: {type(error).__name__}: {error}\n")

# %% [markdown]
# ## 4. Below chance
#
# An eraser takes out the difference of the class means, and afterwards a probe is right *less* than half of the time.
# Erased so well that it went below chance? Nine pairs in 128 dimensions, with no signal at all and with a strong one.
# Each pair is left out once. In-sample erasers saw the pair that is left out.


# %%
def pairs_of(sigmas, seed):
    rng = np.random.default_rng(seed)
    x, direction = rng.normal(size=(18, 128)), rng.normal(size=128)
    x[1::2] += sigmas * direction / np.linalg.norm(direction)
    return torch.from_numpy(x), np.tile([0, 1], 9), np.repeat(np.arange(9), 2)


readings = {}
for name, sigmas in (("noise", 0.0), ("4 sigma", 4.0)):
    for seed in range(15):
        for reading in nested_erasure(*pairs_of(sigmas, seed), fit_mean, seed=seed).readings():
            readings.setdefault((name, reading.label), []).append(reading.accuracy)
for (name, label), accuracies in readings.items():
    print(f"{name:8} {label:22} mean accuracy {np.mean(accuracies):.2f}")

# %% [markdown]
# In sample the accuracy is the same for noise as for a strong signal, so it says nothing about either. If both
# classes have the same mean over *all* pairs, the pair that is left out must differ in the opposite direction from
# the others: the eraser has written the answer into the data. On the *other half*, which the eraser has not seen,
# most of the strong signal is still there.

# %% [markdown]
# ## 5. Significant, and still not it
#
# Last, a result that no permutation will catch. The classes here are the same requests, with and without a modifier
# at their end:

# %%
for i in range(2):
    print(prompts.labels[i], "|", prompts.texts[i])

# %%
study = interp.probe(model, prompts, "embed,resid_post", at="t_inst", folds=5, permutations=59, bootstrap=500)
print(study.report.headline)
for warning in study.report.warnings:
    print("Warning:", warning)

# %% [markdown]
# **Answer.** Before you believe a number, ask:
#
# 1. What are the independent units? Give them as groups; splits, intervals and permutations then go by them.
# 2. How many places were looked at? Read `p_max`, and the AUC with the site chosen inside the folds.
# 3. Does it beat the same model with random weights, a bag of tokens, the last token?
# 4. Was anything fitted on the rows that it is judged on?
# 5. If nothing was found: what would have been found?
#
# In the figure the probe is far above shuffled labels behind every block. So is the model with random weights, and a
# bag of tokens is right about every request. What was read are the words, and anything reads those.

# %%
interp.plots.image(study.report)
