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
# # Your own model, your own data
#
# **Question.** How do I bring my model and my prompts, and how do I know that they are read right?
#
# Any causal language model of `transformers` will do, by its Hugging Face id or from a folder:
#
# ```python
# interp.load_model("meta-llama/Llama-3.1-8B-Instruct")                  # an id; a GPU is used if there is one
# interp.load_model("org/model", revision="main")                        # a branch, a tag or a commit
# interp.load_model("checkpoints/step_1000", dtype="bfloat16")           # a folder; touches no network
# interp.load_model("org/large", device_map="auto", dtype="bfloat16")    # spread over several GPUs
# ```
#
# So that this notebook needs no network, the next cell stands in for your checkpoint. It saves a tiny Llama with
# *random weights*, its tokenizer and a chat template into a folder.

# %%
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

import interp

nouns = "cat dog hen fox cow bee ant owl pig rat bat hat cup key pen car bus jar mug map bag cap fan lid".split()
words = "<s> </s> <unk> <|user|> <|assistant|> the near where is are ? box road".split()
words += nouns + [f"{noun}s" for noun in nouns]
raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>", "<|assistant|>"]})
tokenizer.chat_template = "<s>{% for m in messages %} <|{{ m['role'] }}|> {{ m['content'] }}{% endfor %} <|assistant|>"

torch.manual_seed(17)
disable_progress_bar()
sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4}
config = LlamaConfig(vocab_size=len(words), num_key_value_heads=2, max_position_embeddings=64, **sizes)
folder = Path(tempfile.mkdtemp()) / "tiny-llama"
LlamaForCausalLM(config).save_pretrained(folder)
tokenizer.save_pretrained(folder)
print(sorted(file.name for file in folder.iterdir()))

# %% [markdown]
# ## The model
#
# From here on `folder` could be yours. The doctor comes first: does this package read *this* model right? It compares
# sites with what `transformers` computes, one prompt with a batch, both sides of padding, text with and without a
# cache. The same from a shell: `interp doctor MODEL`.

# %%
model = interp.load_model(folder)
print(model)
report = interp.doctor(model)
print(report.headline)
interp.plots.table(report)

# %% [markdown]
# Precision and devices are options of `load_model`. The doctor's tolerance goes with the precision.

# %%
half = interp.load_model(folder, dtype="bfloat16", device_map="cpu")
print(half)
print(interp.doctor(half).headline)

# %% [markdown]
# What can be read and edited? Names are the same in every architecture.

# %%
print("residual stream:", *model.sites("resid_post"))
print("heads of layer 2:", *(f"z.2.h{head}" for head in range(model.sizes.n_heads)))

# %% [markdown]
# ## The data
#
# A row per prompt, in whatever you have. A data frame:

# %%
import pandas as pd

rows = [
    {"text": f"the {noun}{end} near the {place}", "number": number, "noun": noun, "subject": f"{noun}{end}"}
    for noun in nouns
    for end, number in (("", "singular"), ("s", "plural"))
    for place in ("box", "road")
]
frame = pd.DataFrame(rows)
frame.head(3)

# %% [markdown]
# `label` is what a probe should tell, `group` what must never be on both sides of a split, and a mark is a place to
# read at, here the last token of the subject. Look at a prompt before you believe anything about it:

# %%
fields = {"label": "number", "group": "noun", "marks": {"subject": "subject"}}
prompts = interp.load_prompts(frame, model.tokenizer, **fields)
print(prompts)
print(prompts.describe(2))

# %% [markdown]
# The same rows as JSONL, as CSV and as a list. The hash is of the tokens and marks: equal hashes, equal prompts.

# %%
frame.to_json(folder.parent / "prompts.jsonl", orient="records", lines=True)
frame.to_csv(folder.parent / "prompts.csv", index=False)
for source in (frame, rows, folder.parent / "prompts.jsonl", folder.parent / "prompts.csv"):
    loaded = interp.load_prompts(source, model.tokenizer, **fields)
    print(f"{loaded.source.format:10}", len(loaded), "prompts", loaded.hash[:16])

# %% [markdown]
# Chat messages go through the model's own chat template. Its pieces say where the instruction ends (`t_inst`) and
# where the answer begins (`t_post`). Plain texts become user messages with `template="chat"`; a Jinja file replaces
# the template.

# %%
chats = [{"messages": [{"role": "user", "content": "where is the cat ?"}]}]
print(interp.load_prompts(chats, model.tokenizer).describe(0))
as_chat = interp.load_prompts([{"text": "where is the cat ?"}], model.tokenizer, template="chat")
print("the same tokens from a plain text:", as_chat.tokens[0].tolist())

# %% [markdown]
# What does not fit is refused, with the reason and the fix:

# %%
attempts = {
    "a field that is not there": lambda: interp.load_prompts(frame, model.tokenizer, label="numbr"),
    "texts, and no tokenizer": lambda: interp.load_prompts(frame),
    "a layer that is not there": lambda: interp.capture(model, prompts, "resid_post.9"),
}
for what, attempt in attempts.items():
    try:
        attempt()
    except interp.InterpError as error:
        print(f"{what}: {type(error).__name__}: {error}\n")

# %% [markdown]
# ## A first study
#
# Is the subject's number to be read at the subject, for nouns that the probe was not fitted on?

# %%
study = interp.probe(model, prompts, "embed,resid_post", at="subject", permutations=99)
print(study.report.headline)
interp.plots.table(study.report)

# %% [markdown]
# **Answer.** The model is read right, the prompts are what they should be, and the probe finds nothing: the weights
# are random, and `cat` and `cats` are two tokens that have nothing in common. That is the answer to hope for. A
# random model is a good first try of any pipeline: what is found there was not found in the model. Now put your own
# folder or id into `load_model`, and your own file into `load_prompts`.

# %%
interp.plots.image(study.report)
