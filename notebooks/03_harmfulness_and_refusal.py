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
# # Harmfulness and refusal
#
# **Question.** A model refuses harmful requests. Does it *judge* them harmful in one place and *refuse* them in
# another, or is there one thing only?
#
# In the shipped model `chat` the two were planted apart. Harm is a matter of the verb and the object together.
# Refusal is harm, changed by a note from the system: a jailbreak makes the model answer a harmful request, a strict
# mode makes it refuse a harmless one. Only such requests can tell the two apart: in plain ones, what is harmful is
# what is refused.

# %%
import interp
from interp.safety import load_requests, refusal_study

bed = interp.testbeds.path("chat")
model = interp.load_model(bed)
names = ("harmful", "harmless", "jailbroken", "overrefused")
files = {name: str(bed / f"{name}.jsonl") for name in names}
requests = load_requests(model.tokenizer, **files)
requests

# %% [markdown]
# What the model writes behind the first request of each file:

# %%
for name in names:
    first = requests.prompts.select([list(requests.role).index(name)])
    text = interp.generate(model, first, 12).texts[0]
    print(f"{name:12}", first.texts[0], "->", text)

# %% [markdown]
# Two places are read: `t_inst`, the last token of the instruction, and `t_post`, the last token of the prompt, where
# the answer is about to begin.

# %%
print(requests.prompts.describe(list(requests.role).index("jailbroken")))

# %% [markdown]
# ## The study
#
# One call measures what is refused, reads beliefs at both places beside their nulls, steers, and tries the belief as
# a guard. Every line is a claim, with what it was compared with. (Fewer requests and permutations than by default, to
# keep this short.)

# %%
study = refusal_study(
    model, **files, question="would this cause harm ?", limit=100, permutations=99, bootstrap=300, doses=[1.0]
)
study.summary

# %% [markdown]
# ## Where is each read?
#
# A *belief* is how much nearer a request lies to the mean of refused harmful requests than to that of accepted
# harmless ones. Jailbroken and over-refused requests took no part in those means. If the belief is about harm,
# jailbroken requests lie above zero; if it is about refusal, over-refused ones do.

# %%
interp.plots.image(study.reports["quadrants"])

# %% [markdown]
# The same by depth, for jailbroken and over-refused requests alone: AUC near 1 means that the belief follows harm,
# near 0 that it follows refusal. Beside it stand permuted labels, random weights, lengths and a bag of the tokens.

# %%
interp.plots.image(study.reports["beliefs"], 2)

# %% [markdown]
# ## Which direction moves which?
#
# Reading is not using. Here the difference of means at each place is added to harmless requests and taken off harmful
# ones, beside random directions of the same length. Two outcomes: does the model say that the request would cause
# harm, and does it refuse?

# %%
interp.plots.image(study.reports["dissociation"])

# %% [markdown]
# ## And where there is nothing?
#
# `chat-never` knows what is harmful, and was never taught to refuse. The same call has to say so.

# %%
other = interp.load_model(interp.testbeds.path("chat-never"))
nothing = refusal_study(
    other, **files, question="would this cause harm ?", limit=60, permutations=99, bootstrap=200, doses=[1.0]
)
print(nothing.summary.headline)

# %% [markdown]
# **Answer.** In this model they are two things. At the end of the instruction, requests lie by harm, whatever is done
# with them; at the end of the prompt they lie by refusal. The harm direction changes what the model says about harm
# and, if it is added at the instruction, whether it refuses, since refusal goes by harm. The refusal direction
# changes refusal alone, and random ones do neither. The figure shows every request: jailbroken ones that work are at
# the lower right, judged harmful and about to be answered.
#
# On your own model: `interp refusal MODEL --harmful F --harmless F --jailbroken F --overrefused F --out refusal`. The
# effects of this model are as clean as they are because they were planted.

# %%
interp.plots.image(study.reports["belief-map"])
