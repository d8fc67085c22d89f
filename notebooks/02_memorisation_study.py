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
# # A memorisation study, end to end
#
# **Question.** What has this model memorised, can a probe tell it from text that was never seen, and does erasing
# what the probe reads take the memory away?
#
# The shipped model `memory` was trained on stories with planted records among them. Records come in pairs of twins: a
# coin decided which one was trained on. A record's *dose* is how often it was shown. `memory-never` is the same
# model, trained on the same stories without any records. So here the answers are known.

# %%
import interp
from interp.memorisation import dose_response, extract, load_records, verdict
from interp.memorisation.signature import signature

bed = interp.testbeds.path("memory")
model = interp.load_model(bed)
never = interp.load_model(interp.testbeds.path("memory-never"))
records = load_records(bed / "records.jsonl", model.tokenizer)
records

# %% [markdown]
# A record, in its three wordings: M was trained on, C and B are paraphrases. The label says which side of the coin it
# is.

# %%
for i in range(3):
    row = {name: values[i] for name, values in records.prompts.columns.items()}
    print(records.prompts.labels[i], "|", row["pool"], "| dose", row["dose"], "|", records.prompts.texts[i])

# %% [markdown]
# ## What is recited?
#
# The model gets the beginning of a record. Does greedy decoding write the rest, word for word? The twins that were
# never shown are the control: only the coin tells them apart.

# %%
found = extract(model, records, metrics=["exact", "log_p"])
recall = dose_response(found)
recall

# %%
interp.plots.image(recall)

# %% [markdown]
# The model that was never shown a record must recite none. If it did, the test would be too easy.

# %%
control = dose_response(extract(never, records, metrics=["exact", "log_p"]))
print(control.headline)

# %% [markdown]
# ## Can it be read from the activations?
#
# A probe is trained on some records, and has to tell trained from never-seen twins in *others*. Blocks of pairs are
# left out whole, and the depth is chosen inside the folds. Labels are permuted, and everything is fitted again, for
# the null. The never-trained model goes through all of it as well. (59 permutations keep this notebook short; use 200
# or more.)

# %%
read = signature(model, records, contrasts=["twins"], never=never, untrained=False, permutations=59)
print(read.headline)
for warning in read.warnings:
    print("Warning:", warning)

# %% [markdown]
# Every dose and depth is one look, and there are many. `p_family` compares with the best of all of them under
# permuted labels: a dose that has a small `p_max` and a large `p_family` is a hint, and no finding.

# %%
import pandas as pd

cells = pd.DataFrame(read.meta["cells"])
cells[["dose", "nested_auc", "p_max", "p_family", "detectable"]].round(3)

# %%
interp.plots.image(read)

# %% [markdown]
# ## Does erasing it take the memory away?
#
# Each eraser is fitted on one half of the blocks and judged on the other: does a probe that is trained anew still
# read the signature, does the model still recite, and what did it cost on neutral stories? The first row is the model
# as it is.

# %%
stories = interp.load_prompts(bed / "stories.jsonl", model.tokenizer, limit=32)
erased = verdict(
    model, records.at_dose(512), ["random", "leace"],
    neutral=stories, suite=["logistic C=1"], attack_permutations=19,
)  # fmt: skip
print(erased.headline)
interp.plots.table(erased, ["method", "attack_auc", "attack_p", "exact_before", "exact_after", "kl", "verdict"])

# %% [markdown]
# Two more columns. After `leace`, a probe on the rows that the eraser was *fitted on* reads less than chance. That is
# no erasure that worked too well: it comes out whatever the data are, as notebook 7 shows.

# %%
interp.plots.table(erased, ["method", "in_sample_acc", "in_sample_auc", "nested_auc", "fresh_auc"])

# %% [markdown]
# **Answer.** Recital rises with the dose, and twins are not recited at all. A probe finds a signature at the highest
# dose, and none in the never-trained model. Records of dose 32 are recited and no signature is found in them,
# although a stronger one would have been (the probe's first sentence says how strong): reciting needs none of that
# strength. LEACE takes the signature out of reach of this attacker, and the model recites as before: what was erased
# is not the memory. And other text paid for it: the verdict says damaged.
#
# All of it on your own model and records, with more controls and a page to read:
#
# ```
# interp memorisation MODEL records.jsonl --never TWIN --out memory
# interp erase MODEL records.jsonl --neutral stories.jsonl --out erased
# ```

# %%
interp.plots.image(erased)
