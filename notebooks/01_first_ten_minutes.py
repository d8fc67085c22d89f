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
# # The first ten minutes
#
# **Question.** Where in a model can its answer be read, is it used there, and how do we know that the reading is no
# accident?
#
# The shipped model `induction` was written by hand. It sees a list of words whose last word occurred before, and
# answers with the word that followed it then. Its second layer does the looking up. So a probe for the *category* of
# the answer (animal or object) must be at chance before that layer, and succeed after it.

# %%
import interp

bed = interp.testbeds.path("induction")  # a folder like any other checkpoint; a Hugging Face id would do as well
model = interp.load_model(bed)
model

# %% [markdown]
# Prompts come from a file. What is a text, a label and a group was found out from the names of its fields. Prompts of
# one group are never on both sides of a split.

# %%
prompts = interp.load_prompts(bed / "prompts.jsonl", model.tokenizer)
print(prompts)
print(prompts.describe(0))

# %% [markdown]
# **Read.** Activations are rows, in the order of the prompts. The tensor at a site is fetched by its name.

# %%
acts = interp.capture(model, prompts, "embed,resid_post", at="last")
print(acts)
print(acts["resid_post.1"].tensor().shape)

# %% [markdown]
# **Probe.** One call fits a probe at every site and judges it on groups that it was not fitted on. Beside each number
# stand shuffled labels (of the best of all sites, too), the same model with random weights, and what the words alone
# give.

# %%
study = interp.probe(model, prompts, "embed,resid_post")
print(study.report.headline)
interp.plots.table(study.report)

# %% [markdown]
# **Ablate.** That something can be read does not mean that it is used. Switch off each head of the second layer in
# turn: how many answers stay as they were?

# %%
answers = interp.forward(model, prompts).logits.argmax(dim=-1)
for head in range(model.sizes.n_heads):
    edit = interp.ablate(f"z.1.h{head}", "zero")
    without = interp.forward(model, prompts, edits=[edit]).logits.argmax(dim=-1)
    print(f"without head 1.{head}: {float((without == answers).float().mean()):.0%} of the answers stay")

# %% [markdown]
# **Write down.** A report keeps its rows, its warnings and where it came from: a hash of the weights, of the prompts,
# and the seed. `study.report.save("probe.json")` writes it, `interp.plots.write_html(study.report, "probe.html")`
# makes a page of it, and the same figure exports as SVG or PDF.

# %%
source = study.report.provenance
print("model", source.model_id, source.model[:16], "| prompts", source.prompts[:16], "| seed", source.seed)
print("warnings:", study.report.warnings or "none")

# %% [markdown]
# **Answer.** The category can be read behind the second layer, and nowhere before. The probe is above the band of
# shuffled labels there, and the model with random weights is not. One head of that layer is needed for the answers,
# and the others are not.

# %%
interp.plots.image(study.report)
