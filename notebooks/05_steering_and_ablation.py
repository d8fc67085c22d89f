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
# # Steering and ablation, with side effects
#
# **Question.** Adding a direction makes a model refuse, taking it out makes it comply. Is it *this* direction, or
# would any of that length do? And what does it cost elsewhere?
#
# In the shipped model `chat` a refusal direction was planted, so there is one to be found.

# %%
import interp
from interp import safety
from interp.directions import fit_directions
from interp.prompts.join import join

bed = interp.testbeds.path("chat")
model = interp.load_model(bed)
load = {"label": "harmful", "group": "group"}
requests = join(
    [interp.load_prompts(bed / f"{name}.jsonl", model.tokenizer, **load) for name in ("harmful", "harmless")]
)
neutral = interp.load_prompts(bed / "neutral.jsonl", model.tokenizer)
split = requests.columns["split"]
train, test = requests.select(split == "train"), requests.select(split == "test")
print(train)
print(test)
print(neutral)

# %% [markdown]
# ## A direction
#
# The difference of means between harmful and harmless requests, at every block's input, at the last token of the
# prompt. `cos_halves` is the cosine between directions of two halves of the requests: near 0, a direction is noise.

# %%
fitted = fit_directions(model, train, "resid_pre", at="t_post", permutations=39, bootstrap=300, untrained=False)
refusal = fitted.best
print(refusal)
interp.plots.table(fitted.report, ["site", "auc", "null_auc_hi", "p_max", "cos_halves"])

# %% [markdown]
# ## Adding it
#
# On harmless requests that it was not fitted on. The score is the log odds that the answer begins as refusals do:
# above 0 the model refuses. Nineteen random directions of the same length are added at the same token. The KL is the
# price, in nats per token on neutral chats.

# %%
harmless = test.select(test.labels == 0).select(slice(0, 32))
harmful = test.select(test.labels == 1).select(slice(0, 32))
few = {"refusals": ["Sorry", "Unfortunately"], "bootstrap": 300, "permutations": 999, "stories": 8, "new_tokens": 8}
steered = safety.steer_dose_response(model, harmless, refusal, [0.5, 1, 2], neutral=neutral, at="t_post", **few)
print(steered.headline)
for warning in steered.warnings:
    print("Warning:", warning)
interp.plots.table(steered, ["coeff", "score", "random_effect", "p_max", "kl", "verdict"])

# %% [markdown]
# Numbers are not texts. What does it write?

# %%
arms = [safety.Arm("unsteered")]
arms += [
    safety.Arm(f"coefficient {c:g}", (interp.add(refusal.site, refusal.vector, c, at="t_post"),)) for c in (0.5, 1)
]
texts = safety.side_by_side(model, harmless, arms, limit=3, new_tokens=12)
interp.plots.table(texts)

# %% [markdown]
# ## Taking it out
#
# Projected out at every write to the residual stream, on harmful requests, beside random directions that are taken
# out in the same way.

# %%
removed = safety.ablation_effect(model, harmful, safety.remove_direction(model, refusal), neutral=neutral, **few)
print(removed.headline)
interp.plots.image(removed)

# %% [markdown]
# An ablation that does nothing should be called nothing. One attention head, replaced by its mean, beside other
# heads:

# %%
head = safety.remove_heads(model, "2.1", "mean", reference=train)
print(safety.ablation_effect(model, harmful, head, **few).headline)

# %% [markdown]
# ## Paying less
#
# Whoever wants refusals of *harmful* requests only need not pay for the others. A condition reads each prompt before
# anything is edited, and the edit acts where it is met. The harm direction is read at the end of the instruction; the
# threshold comes from validation requests, and jailbroken requests, which the model would answer, are the test.

# %%
harm = fit_directions(model, train, "resid_pre", at="t_inst", permutations=0, bootstrap=300, untrained=False).best
gate = safety.fit_condition(model, requests.select(split == "val"), harm)
jailbroken = interp.load_prompts(bed / "jailbroken.jsonl", model.tokenizer, **load).select(slice(-32, None))
gated = safety.steer_dose_response(
    model, jailbroken, refusal, [1], neutral=neutral, at="t_post", condition=gate.condition, **few
)
print(gate.condition)
print(gated.headline)

# %%
without = {row["coeff"]: row["kl"] for row in steered.rows}[1.0]
print(f"KL on neutral chats at coefficient 1: {without:.2g} without the condition, {gated.rows[-1]['kl']:.2g} with it")

# %% [markdown]
# **Answer.** The direction does what random ones of its length do not, added and taken out; the head does nothing.
# Half its length is enough to make the model refuse. The whole length changes neutral chats as well, which the report
# calls a price. Behind a condition the price is gone.
#
# From a shell: `interp steer` and `interp ablate`, with a direction from `interp direction`.

# %%
interp.plots.image(steered)
