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
# **Question.** Where in a model can its answer be read, and how do we know that the reading is not an accident?
#
# The shipped model `induction` was written by hand: its second layer looks up what followed the last word before, and
# writes it out. So a probe for the *category* of the answer must be at chance before that layer and succeed after it.

# %%
import interp

bed = interp.testbeds.path("induction")
model = interp.load_model(bed)
prompts = interp.load_prompts(bed / "prompts.jsonl", model.tokenizer)
print(model)
print(prompts)
print(prompts.describe(0))

# %% [markdown]
# Activations come as rows, in the order of the prompts, and say what each row is.

# %%
acts = interp.capture(model, prompts, "embed,resid_post", at="last")
print(acts)
print(acts["resid_post.1"].shape, acts.index)

# %% [markdown]
# A probe at every site: groups are never split, and beside each number stand the null of the best of all sites, an
# untrained twin of the model, and what the words alone can do.

# %%
study = interp.probe(model, prompts, "embed,resid_post")
print(study.report)

# %% [markdown]
# Is it *used*? Ablate the head that finds the answer, and the answer is gone; another head does not matter.

# %%
correct = interp.forward(model, prompts).logits.argmax(dim=-1)
for head in range(model.sizes.n_heads):
    edit = interp.ablate(f"z.1.h{head}", "zero")
    edited = interp.forward(model, prompts, edits=[edit]).logits.argmax(dim=-1)
    print(f"without head 1.{head}: {float((edited == correct).float().mean()):.0%} of the answers stay")

# %%
interp.plots.figure(study.report)
