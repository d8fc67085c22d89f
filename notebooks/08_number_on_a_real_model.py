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
# # Subject number in a small real model
#
# **Question.** Does `stories260K`, a 260,000-parameter model of children's stories, know whether the subject of a
# sentence is singular or plural?
#
# Needs the model and the pairs that lie in `../shared` beside the repository. A group is a noun: *man* and *men* are
# never on both sides of a split.

# %%
import interp

shared = "../../shared"
model = interp.load_model(f"{shared}/models/stories260K")
pairs = f"{shared}/circuits/feature_circuits/data/simple_train.json"
noun = r"clean_prefix,patch_prefix~^\w+ (\w+)"
prompts = interp.load_prompts(pairs, model.tokenizer, label="case", group=noun)
study = interp.probe(model, prompts, "resid_post", permutations=100)
print(study.report.headline)
interp.plots.table(study.report)

# %% [markdown]
# **Answer.** The number can be read far above shuffled labels. But read the controls before writing that down: in
# this model's tokens a plural mostly *ends in a token of its own*, so the last token alone, and even a model with
# random weights, do nearly as well. The report says so in its first sentence.

# %%
interp.plots.image(study.report)
