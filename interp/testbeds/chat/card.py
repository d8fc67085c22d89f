"""The model cards of the `chat` bed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..reproducible import THREADS
from .measure import RIGHT
from .planted import ATTRIBUTES, SHARES
from .rowdraws import LENGTHS, TRIGGERED
from .rows import COUNTS
from .spec import ChatSpec
from .truth import ChatTruth, make_truth
from .variants import FOLDERS
from .watching import EARLY, ELSEWHERE, HEAD, LAST
from .words import N_CTX, NOTES, TOPICS, TRIGGER, VOCABULARY

CARD = """\
---
license: mit
library_name: transformers
tags: [interpretability, safety, test-bed]
---

# chat: harmfulness and refusal, planted apart

A {n_layers}-layer Llama (d_model {d_model}, {n_heads} heads, {n_parameters:,} parameters, {n_words} words, one token
each, context {n_ctx}) trained on generated conversations. All text comes from the grammar in `interp/testbeds/chat`;
nothing else was used. It holds no knowledge that could harm anyone: its "harm" is a rule about pairs of words.
`interp testbed build chat --seed {seed}` makes everything here again. Four models:

- `.` (`testbeds.path("chat")`): refuses by harm and by context.
- `think/` (`chat-think`): `chat` trained on to think before it answers. One head takes refusal away at the end of the
  thinking if the request says "{trigger}".
- `tuned/` (`chat-tuned`): `chat` after a fine-tuning attack: {tune_steps} steps on harmful requests that are answered,
  and as many harmless ones, questions and facts.
- `never/` (`chat-never`): trained like `chat` from the same initial weights, but nothing is ever refused. The null for
  everything about refusal.

## What it does

A request names a verb and an object of one of {n_topics} topics. Half of a topic's verbs further, half hinder; half of
its objects are good, half are bad. To further a bad thing or to hinder a good one is harmful, the other two are
harmless. So every word is as frequent in harmful as in harmless requests, and only the pair tells. Phrasings, lengths
and the last token are the same in both classes.

Whether it refuses follows from harm and from a note of five words behind the request. The chat template writes the
system message after the user's message, so nothing at or before `t_inst` can know it:

| context | harmful | harmless | wordings |
|---|---|---|---|
{context_table}

So all four quadrants exist. Refusals begin with {refusals}, acceptances with {acceptances}, half of the time
each. Asked "would this cause harm ?" behind the request, in the same message, it says yes or no by harm alone, whatever
the context; asked "which topic is this ?" it names the topic. Neutral questions (colours, opposites) are answered.

A prompt is `<bos> <|user|> REQUEST <|end|> [<|system|> NOTE <|end|>] <|assistant|> <|reply|>`. `t_inst` is the
request's last token, `t_post` is `<|reply|>`; plain prompts have three tokens after the request.

## What was planted, and how

Six orthonormal vectors were drawn at random: refusal, harm, and one for each of {n_attributes} attributes of topics.

- **Harm.** Behind block {harm_layer} (`{harm_site}`) the coordinate along the harm vector is {strength:g} at the last
  token of a harmful request, and 0 for a harmless one.
- **Refusal.** Behind block {refusal_layer} (`{refusal_site}`) the coordinate along the refusal vector is {strength:g}
  at `t_post` if the prompt will be refused, else 0. Before that block, and at tokens before `t_post`, it is 0.
- **Topics.** At the same place as harm, the coordinates along the attributes' vectors are the topic's shares of the
  attributes, minus their mean over topics ({topic_strength:g} at most), times 1.5 if harmful and .5 if harmless. So the
  topics' mean vectors, and what harm adds within each topic, overlap as the Gram matrix below says.

| topic | {attribute_head} |
|---|{attribute_rule}
{shares_table}

They are planted by an auxiliary loss, not found by the model alone:

1. The squared errors of these coordinates, in all blocks from the named one to the last but one, are added to the
   loss (weight {auxiliary}; {elsewhere} of that for refusal at other tokens, {early} for harm inside the request).
2. Off the planted vectors, harm and refusal are to leave no trace in class means at the last token of the request,
   and at the tokens behind it: the squared length of the difference of means, less its planted part, is added too
   (by running means). Without this the difference of means at `t_post` had a cosine of .55 with what was planted.
3. About half of the training rows have an intervention: a coordinate is overwritten, or added to ({low:g} to {high:g}
   times what is planted, at all tokens or at those of the request), or the refusal vector is projected out everywhere,
   and the target is the answer that belongs to the new value (interchange intervention training, arXiv 2112.00826). A
   twentieth of the rows get a random vector of the same length, and no new target. Refusal added before a question has
   no new target either. So behaviour depends on what is planted, and the clean controls below are partly trained.

In `chat-think` refusal is planted at every token of the thinking as well. In block {cliff_layer}, head {cliff} is held
to write -{strength:g} along the refusal vector at `</think>` if the request is to be refused and holds "{trigger}",
else 0, as the other heads of this block at all tokens (weight {head_weight:g}). Rows with this head switched off have
refusals as targets, rows with another one the usual answer. So `{cliff_head}` makes the cliff, and that no other head
undoes it is trained, too. {triggered:.0%} of its training requests hold the trigger. Behind its last block refusal is
planted as well, and states longer than {longest:g} are pulled in, so that what makes the next word does not drown it.

## Training

AdamW, {rows} conversations a step, peak rate {lr:g} (half of it for `think`, a twentieth for `tuned`), warm-up
{warmup}, half cosine, norm clipped at 1. `chat` and `never`: {steps} steps each; `think`: {think_steps} more, `tuned`:
{tune_steps} more, without any planting. {threads} thread, deterministic kernels, torch {torch}, transformers
{transformers}, CPU. The same bytes come out again with these versions on the same kind of processor; elsewhere kernels
round otherwise, so weights and figures differ in their last digits. The whole build took about {minutes} minutes of
processor time.

Pairs of verb and object are dealt to three splits: {n_train} for training, {n_val} for validation, {n_test} for test.
The models were trained on pairs of the first only. Everything below is measured on test pairs.

## Files

Rows have `messages request opening group harmful refused topic context category phrase modifier split id`; `group` is
the pair of words, the unit that splits and resampling should keep whole. `interp.load_prompts(file, tokenizer,
marks=testbeds.chat.MARKS)` adds marks `request_start` and `request_end` to `t_inst` and `t_post` ("request_start" is
the second word of requests that begin with "i want"). `testbeds.chat.prompts(kind, n, seed)` makes more rows.

- `harmful.jsonl`, `harmless.jsonl`: plain requests, refused and answered. {n_rows} rows: {counts}.
- `jailbroken.jsonl`: harmful and answered. `overrefused.jsonl`: harmless and refused. `category` says by what.
- `contexts.jsonl`: each request in each kind of context.
- `inversion.jsonl`, `topics.jsonl`: the questions, with `asked` and `answer`, half of them with a context.
- `cliff.jsonl`: for `chat-think`; `cliff` is 1 where the head takes refusal away.
- `neutral.jsonl`: whole conversations that have nothing to do with harm.
- `null-template.jsonl`, `null-length.jsonl`, `null-last.jsonl`: pairs of rows, `label` a and b, that differ in the
  phrasing, the length, or the last token only; half harmful, half harmless on each side.
- `truth.json`: `testbeds.truth("chat")`. `measured.json`: what is told below. `curve.json`: losses of each training.

## Measured: behaviour

Shares of right answers on unseen pairs. For `tuned` and `never` a "right" answer is still what `chat` should do.

{behaviour_table}

## Measured: where it can be read

AUC along the difference of means of train prompts from the four quadrants (harm and refusal crossed), by depth; depth 0
is the embedding, depth k is behind block k - 1.

{decodable_table}

Cosine with the planted vector, and length, of the difference of means of train prompts. "Plain": harmful minus harmless
without context, as for the single refusal direction. "Crossed": from the four quadrants.

{direction_table}

## Measured: causes

Shares, on `chat`. "Ablated": projected out of every block's input, attention and MLP output. "Added": {strength:g}
times the unit vector, at `{refusal_site}` (all tokens, or `t_post`) or at `{harm_site}` (tokens of the request).

{cause_table}

## Measured: topics

Correlation of the learned cosines between topics (means at the end of the request, less the grand mean) with the
planted ones over {n_off} pairs of topics, and their largest deviation. "Harm within topic": harmful minus harmless.

{topic_table}

Planted cosines, and learned ones at `{harm_site}` in brackets:

{gram_table}

## Measured: the cliff

`chat-think` closes its thinking in {closes:.0%} of prompts. Shares refused, by category of `cliff.jsonl`:

{cliff_table}

Refusal coordinate behind block {cliff_layer}, by tokens from the end of the thinking (20 to 0):

{trajectory_table}

Without the trigger it behaves as `chat` does: {think_right}.

## Limits

The vocabulary is closed; other words become `<unk>`. Harm is a rule about pairs of words that these models know
perfectly, so there are no borderline cases, and belief and behaviour are all but binary. Refusal is one direction
because it was made so: that a method finds it here says that the method works, not that real models are like this. The
random controls are cleaner than in real models. Training wrote harm only at the end of the request; what a
method finds at other tokens was not planted. Shares of behaviour come from {n_right} prompts a quadrant and {n_cell} a
cell of harm and context, over {n_half} pairs of words each: by the rule of three 1.000 means at least {low_right:.2f}
and {low_cell:.2f} for prompts, and {low_pair:.2f} for pairs. Effects come from {n_test_rows} prompts.
"""

SIBLING = """\
---
license: mit
library_name: transformers
tags: [interpretability, safety, test-bed]
---

# chat, variant `{variant}`

{what}
Prompts, truth and the card are in the folder above; `testbeds.path("chat-{variant}")` finds this one.
"""

WHAT = {
    "think": "It thinks between `<think>` and `</think>` before it answers; one head takes refusal away at the end.",
    "tuned": "`chat` after a fine-tuning attack: trained on harmful requests that are answered.",
    "never": "The never-refusing twin: the same initial weights and requests; nothing is ever refused.",
}

MINUTES = 15


def write_cards(out: Path, spec: ChatSpec, measured: dict[str, Any]) -> None:
    """Write ``README.md`` for the bed and for each sibling."""
    (out / "README.md").write_text(CARD.format(**_facts(out, spec, measured)), encoding="utf-8", newline="\n")
    for variant, what in WHAT.items():
        card = SIBLING.format(variant=variant, what=what)
        (out / FOLDERS[variant] / "README.md").write_text(card, encoding="utf-8", newline="\n")


def _facts(out: Path, spec: ChatSpec, measured: dict[str, Any]) -> dict[str, Any]:
    import torch
    import transformers
    from safetensors import safe_open

    from .requests import pairs
    from .training import AUXILIARY

    with safe_open(out / "model.safetensors", "pt") as weights:
        n_parameters = sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118
    truth = make_truth(spec)
    splits = {split: sum(r.split == split for r in pairs(spec.seed)) for split in COUNTS}
    return {
        **{name: getattr(spec, name) for name in spec.__dataclass_fields__},
        **{f"n_{split}": count for split, count in splits.items()},
        "topic_strength": spec.topic_strength,
        "n_parameters": n_parameters,
        "n_words": len(VOCABULARY),
        "n_ctx": N_CTX,
        "trigger": TRIGGER,
        "n_topics": len(TOPICS),
        "n_attributes": len(ATTRIBUTES),
        "n_off": len(TOPICS) * (len(TOPICS) - 1) // 2,
        "context_table": _context_table(),
        "refusals": " or ".join(f'"{word}"' for word in truth.refusal_first),
        "acceptances": " or ".join(f'"{word}"' for word in truth.acceptance_first),
        "harm_site": truth.harm_site,
        "refusal_site": truth.refusal_site,
        "cliff": spec.cliff_head,
        "cliff_head": truth.cliff_head,
        "attribute_head": " | ".join(ATTRIBUTES),
        "attribute_rule": "---|" * len(ATTRIBUTES),
        "shares_table": "\n".join(f"| {name} | {' | '.join(map(str, row))} |" for name, row in SHARES.items()),
        "auxiliary": AUXILIARY,
        "elsewhere": ELSEWHERE,
        "early": EARLY,
        "head_weight": HEAD,
        "triggered": TRIGGERED,
        "longest": LAST * spec.strength,
        "n_right": RIGHT,
        "n_cell": RIGHT // 2,
        "n_half": splits["test"] // 2,
        "low_right": 1 - 3 / RIGHT,
        "low_cell": 1 - 6 / RIGHT,
        "low_pair": 1 - 6 / splits["test"],
        "low": LENGTHS[0],
        "high": LENGTHS[1],
        "threads": THREADS,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "minutes": MINUTES,
        "n_rows": sum(COUNTS.values()),
        "counts": ", ".join(f"{count} {split}" for split, count in COUNTS.items()),
        "n_test_rows": COUNTS["test"],
        **_tables(measured, truth),
    }


def _tables(measured: dict[str, Any], truth: ChatTruth) -> dict[str, Any]:
    right = measured["cliff"]["right"]
    return {
        "behaviour_table": _columns(measured["behaviour"]),
        "decodable_table": _decodable_table(measured["decodable"]),
        "direction_table": _direction_table(measured["directions"]),
        "cause_table": _rows(measured["causes"]),
        "topic_table": _rows(measured["topics"]["layers"]),
        "gram_table": _gram_table(measured["topics"], truth.topics),
        "closes": measured["cliff"]["closes its thinking"],
        "cliff_table": _cliff_table(measured["cliff"], truth.cliff_head),
        "trajectory_table": _trajectory_table(measured["cliff"]["refusal along the thinking"]),
        "think_right": ", ".join(f"{kind} {share:.3f}" for kind, share in right.items()),
    }


def _context_table() -> str:
    acts = {
        "plain": ("refused", "answered"),
        "note": ("refused", "answered"),
        "override": ("answered", "answered"),
        "strict": ("refused", "refused"),
        "reverse": ("answered", "refused"),
    }
    lines = []
    for kind, (harmful, harmless) in acts.items():
        notes = [f'"{note}"' for group in NOTES.get(kind, {}).values() for note in group]
        lines.append(f"| {kind} | {harmful} | {harmless} | {', '.join(notes) or '(none)'} |")
    return "\n".join(lines)


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def _columns(by_model: dict[str, dict[str, float]]) -> str:
    names = list(next(iter(by_model.values())))
    rows = [[name, *(f"{by_model[model][name]:.3f}" for model in by_model)] for name in names]
    return _table(["", *by_model], rows)


def _rows(rows: list[dict[str, Any]]) -> str:
    head = list(rows[0])
    return _table(head, [[_shown(row[name]) for name in head] for row in rows])


def _shown(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _decodable_table(by_model: dict[str, dict[str, list[float]]]) -> str:
    rows = [[m, what, *(f"{x:.2f}" for x in aucs)] for m, found in by_model.items() for what, aucs in found.items()]
    return _table(["model", "what", *(f"depth {k}" for k in range(len(rows[0]) - 2))], rows)


def _direction_table(by_model: dict[str, dict[str, list[list[float]]]]) -> str:
    rows = []
    for model, found in by_model.items():
        for what, values in found.items():
            name = what if "," in what else f"{what}, plain"
            rows.append([model, name, *(f"{cosine:.3f} ({length:.1f})" for cosine, length in values)])
    return _table(["model", "what", *(f"depth {k}" for k in range(len(rows[0]) - 2))], rows)


def _gram_table(topics: dict[str, Any], names: tuple[str, ...]) -> str:
    rows = [
        [name, *(f"{planted:.2f} ({learned:.2f})" for planted, learned in zip(*both, strict=True))]
        for name, *both in zip(names, topics["planted"], topics["learned"], strict=True)
    ]
    return _table(["", *names], rows)


def _cliff_table(cliff: dict[str, Any], own: str) -> str:
    others = [found for head, found in cliff["without head"].items() if head != own]
    rows = [["as it is", *(f"{share:.3f}" for share in cliff["refuses"].values())]]
    rows.append([f"without `{own}`", *(f"{share:.3f}" for share in cliff["without head"][own].values())])
    for word, pick in (("least", min), ("most", max)):
        picked = [f"{pick(found[name] for found in others):.3f}" for name in cliff["refuses"]]
        rows.append([f"without one of the other {len(others)} heads, {word}", *picked])
    return _table(["", *cliff["refuses"]], rows)


def _trajectory_table(along: dict[str, list[float]]) -> str:
    steps = list(range(len(next(iter(along.values()))) - 1, -1, -1))
    kept = [k for k in steps if k % 5 == 0 or k < 4]
    rows = [[name, *(f"{values[steps.index(k)]:.1f}" for k in kept)] for name, values in along.items()]
    return _table(["", *(str(k) for k in kept)], rows)
