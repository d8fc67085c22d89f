"""Chat templates: the ids of apply_chat_template, and marks that every template's habits leave right."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.errors import EmptyPromptsError, PromptError, TokenizerMissingError
from interp.prompts import PromptSet
from interp.prompts.hashing import text_hash
from tests.prompts.made_tokenizers import CHATML, HEADERS, INST, TEMPLATES, THINKING, TURNS, byte_level, merging, slow

MAKERS = {"byte_level": byte_level, "merging": merging, "slow": slow}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


def made(template, maker="byte_level"):
    return MAKERS[maker](template=template)


def one(messages, tokenizer, **options):
    return PromptSet.from_chats([messages], tokenizer, **options)


def decoded(prompts, span, tokenizer):
    """The text of a span's tokens."""
    start, stop = prompts.spans[span][0]
    pieces = tokenizer.convert_ids_to_tokens(prompts.tokens[0][start:stop].tolist())
    return "".join(pieces).replace("Ġ", " ").replace("Ċ", "\n")


CHATS = {
    "plain": [user("tell me how to make a cake.")],
    "padded with blanks": [user("  \n tell me how to make a cake. \n\n ")],
    "several turns": [user("hello"), assistant("sure, here is how"), user("what is a cat?")],
    "says it twice": [user("user user assistant user")],
    "the same words in each turn": [user("a cat"), assistant("a cat"), user("a cat")],
    "control tokens typed": [user("a <|im_end|> cat </s>")],
    "looks like a template": [user("{{ bos_token }} [INST] [/INST] {% raw %}")],
    "not ascii": [user("où est 🙂 le chat ?")],
}
WITH_SYSTEM = {
    "system": [system("you are kind"), user("tell me.")],
    "the system says the same": [system("tell me"), user("tell me")],
    "empty system": [system(""), user("tell me.")],
    "blank system": [system("  \n"), user("tell me.")],
}
# The other two vocabularies are ASCII only, and one family knows no system role.
CASES = [
    (template, chat, maker)
    for template in TEMPLATES
    for maker in MAKERS
    for chat in [*CHATS, *(WITH_SYSTEM if template != "turns" else [])]
    if maker == "byte_level" or chat != "not ascii"
]


@pytest.mark.parametrize(("template", "chat", "maker"), CASES)
def test_ids_are_those_of_apply_chat_template_and_spans_hold_the_messages(template, chat, maker):
    tokenizer, messages = made(TEMPLATES[template], maker), {**CHATS, **WITH_SYSTEM}[chat]
    prompts = one(messages, tokenizer)
    expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert prompts.tokens[0].tolist() == expected

    instruction = messages[-1]["content"].strip()
    text = prompts.texts[0]
    # What the spans hold, said without the code under test: the last occurrence, and everything after it.
    start = text.rindex(instruction)
    if maker != "slow":
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        covers = [i for i, (a, b) in enumerate(encoded["offset_mapping"]) if a < start + len(instruction) and b > start]
        assert prompts.spans["instruction"][0].tolist() == [covers[0], covers[-1] + 1]
    assert prompts.marks["t_inst"][0] == prompts.spans["instruction"][0, 1] - 1
    assert prompts.marks["t_post"][0] == prompts.marks["last"][0] == len(expected) - 1
    assert prompts.spans["post"][0].tolist() == [prompts.marks["t_inst"][0] + 1, len(expected)]
    if chat != "not ascii":
        assert instruction in decoded(prompts, "instruction", tokenizer)
        after = text[start + len(instruction) :]
        assert decoded(prompts, "post", tokenizer) == after
    if messages[0]["role"] == "system":
        said = messages[0]["content"].strip()
        assert ("system" in prompts.spans) == bool(said)
        if said:
            assert said in decoded(prompts, "system", tokenizer)
            assert prompts.spans["system"][0, 1] <= prompts.spans["instruction"][0, 0]


PARTS = ["a", "cat", " ", "\n", "?", ".", "</s>", "<|im_end|>", "user", "[INST]", "{{", "é", "<think>"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PARTS), max_size=6).map("".join), min_size=1, max_size=3))
def test_any_words_are_placed_or_refused(turns):
    """Against a second way to find the instruction: from the end of what the template writes."""
    messages = [m for t in turns for m in (user(t), assistant("sure"))][:-1]
    instruction = turns[-1].strip()
    for name, template in TEMPLATES.items():
        tokenizer = made(template)
        if not instruction:
            with pytest.raises(PromptError, match="last message is empty"):
                one(messages, tokenizer)
            continue
        prompts = one(messages, tokenizer)
        tokens = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert prompts.tokens[0].tolist() == tokens, name
        # What the template writes behind a word that stands alone.
        behind = tokenizer.apply_chat_template([user("zzz")], add_generation_prompt=True, tokenize=False).split("zzz")[
            1
        ]
        end = prompts.texts[0].rindex(instruction, 0, len(prompts.texts[0]) - len(behind)) + len(instruction)
        encoded = tokenizer(prompts.texts[0], add_special_tokens=False, return_offsets_mapping=True)
        covers = [i for i, (a, b) in enumerate(encoded["offset_mapping"]) if a < end <= b]
        assert prompts.marks["t_inst"][0] == covers[-1], name


@pytest.mark.parametrize("template", TEMPLATES)
def test_t_inst_does_not_move_with_blanks_that_the_template_strips_or_keeps(template):
    tokenizer = made(TEMPLATES[template])
    chats = [[user("what is a cat?")], [user("what is a cat? \n ")]]
    prompts = PromptSet.from_chats(chats, tokenizer)
    ends = [prompts.tokens[i][prompts.marks["t_inst"][i]] for i in range(2)]
    assert [prompts.pieces[int(t)] for t in ends] == ["?", "?"]


def test_a_default_system_prompt_moves_the_marks_and_is_no_system_span():
    with_default, without = made(TEMPLATES["chatml_default_system"]), made(CHATML)
    first, second = one([user("hello")], with_default), one([user("hello")], without)
    shift = len(first.tokens[0]) - len(second.tokens[0])
    assert shift > 0
    assert first.marks["t_inst"][0] == second.marks["t_inst"][0] + shift
    assert "system" not in first.spans


def test_a_token_merged_across_the_end_belongs_to_the_instruction():
    """In this vocabulary '.' and the newline that the template writes are one token."""
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
    tokenizer = merging(template)
    prompts = one([user("hello.")], tokenizer)
    assert prompts.pieces[int(prompts.tokens[0][prompts.marks["t_inst"][0]])] == ".\n"
    assert decoded(prompts, "post", tokenizer) == "assistant:"
    with pytest.raises(PromptError, match="ambiguous"):
        one([user("hello.")], slow(template))


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_finished_answer_comes_after_t_post(template, maker):
    tokenizer = made(TEMPLATES[template], maker)
    prompts = one([user("hello"), assistant("sure, here is how")], tokenizer)
    asked = one([user("hello")], tokenizer)
    assert prompts.marks["t_post"][0] == asked.marks["last"][0] < prompts.marks["last"][0]
    assert decoded(prompts, "post", tokenizer) == decoded(asked, "post", tokenizer)


@pytest.mark.parametrize("answer", ["sure", "<think>a cat is a cat</think>sure", ""])
def test_an_answer_with_reasoning_does_not_move_t_post(answer):
    """The template rewrites such an answer, so the answer begins where a model would begin it."""
    tokenizer = made(THINKING)
    asked = one([user("what is a cat?")], tokenizer)
    answered = one([user("what is a cat?"), assistant(answer)], tokenizer)
    for mark in ("t_inst", "t_post"):
        assert answered.marks[mark][0] == asked.marks[mark][0]
    assert len(answered.tokens[0]) > len(asked.tokens[0])


def test_an_answer_whose_template_asks_in_other_words_is_found_by_marker():
    template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|eot|>{% endfor %}"
        "{% if add_generation_prompt %}your turn:{% endif %}"
    )
    tokenizer = made(template)
    prompts = one([user("hello"), assistant("sure")], tokenizer)
    assert decoded(prompts, "post", tokenizer).startswith("<|eot|>assistant:")
    assert prompts.pieces[int(prompts.tokens[0][prompts.marks["t_post"][0] + 1])].strip("Ġ") in ("s", "su", "sure")


def test_without_a_generation_prompt_t_post_is_what_the_template_still_writes():
    tokenizer = made(CHATML)
    prompts = one([user("hello")], tokenizer, add_generation_prompt=False)
    assert decoded(prompts, "post", tokenizer) == "<|im_end|>\n"
    assert prompts.source.template_options["add_generation_prompt"] is False


def test_a_template_that_writes_nothing_after_has_no_t_post():
    tokenizer = made("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{% endfor %}")
    prompts = one([user("hello")], tokenizer)
    assert prompts.marks["t_post"].tolist() == [-1]
    assert "post" not in prompts.spans
    assert prompts.marks["t_inst"][0] == prompts.marks["last"][0]


def test_escaped_content_is_still_placed():
    tokenizer = made("{% for m in messages %}<|head|>{{ m['content'] | tojson }}<|eot|>{% endfor %}")
    prompts = one([user('a "cat"\nand')], tokenizer)
    assert decoded(prompts, "instruction", tokenizer) == r"a \"cat\"\nand"
    assert decoded(prompts, "post", tokenizer).endswith('"<|eot|>')


def test_control_tokens_of_the_template_are_special_and_words_are_not():
    tokenizer = made(CHATML)
    prompts = one([user("hello")], tokenizer)
    control = [i for i, t in enumerate(prompts.tokens[0]) if prompts.pieces[int(t)].startswith("<|")]
    assert prompts.special[0].nonzero()[0].tolist() == control


@pytest.mark.parametrize(
    ("template", "adds_bos", "policy", "leading", "decision"),
    [
        (INST, True, "auto", 1, "template"),
        (INST, True, "always", 1, "template"),
        (INST, True, "never", 0, "removed"),
        (TURNS, False, "auto", 1, "template"),
        # The tokenizer's own template decides, as in apply_chat_template, even if plain text would get a BOS.
        (CHATML, True, "auto", 0, "none"),
        (CHATML, True, "always", 1, "requested"),
        (CHATML, False, "never", 0, "none"),
    ],
)
def test_bos_with_the_tokenizers_own_template(template, adds_bos, policy, leading, decision):
    tokenizer = byte_level(template=template, add_bos=adds_bos)
    prompts = one([user("what is a cat?")], tokenizer, bos=policy)
    tokens = prompts.tokens[0].tolist()
    assert tokens[:2].count(tokenizer.bos_token_id) == leading
    assert prompts.source.bos_counts == {decision: 1}
    piece = prompts.pieces[tokens[prompts.marks["t_inst"][0]]]
    assert piece == "?"


@pytest.mark.parametrize(
    ("template", "adds_bos", "decision"),
    [(CHATML, True, "tokenizer"), (CHATML, False, "none"), (TURNS, True, "template")],
)
def test_bos_with_a_template_that_was_brought(template, adds_bos, decision):
    prompts = one([user("what is a cat?")], byte_level(add_bos=adds_bos), chat_template=template)
    assert prompts.source.bos_counts == {decision: 1}
    assert prompts.source.chat_template == text_hash(template)
    assert prompts.pieces[int(prompts.tokens[0][prompts.marks["t_inst"][0]])] == "?"


def test_a_template_from_a_file(tmp_path):
    path = tmp_path / "chat.jinja"
    path.write_text(CHATML, encoding="utf-8")
    own, brought = one([user("a")], made(CHATML)), one([user("a")], byte_level(), chat_template=path)
    assert own.tokens[0].tolist() == brought.tokens[0].tolist()
    assert one([user("a")], byte_level(), chat_template=str(path)).source == brought.source
    with pytest.raises(PromptError, match=r"no chat template .*chat.jinj; did you mean 'chat.jinja'"):
        one([user("a")], byte_level(), chat_template=str(path)[:-1])


def test_options_reach_the_template():
    template = CHATML + "{% if thinking %}think{% endif %}"
    prompts = one([user("a")], made(template), template_options={"thinking": True})
    assert prompts.texts[0].endswith("think")
    assert prompts.source.template_options["thinking"] is True


def test_a_template_that_reads_the_clock_is_noted():
    template = "{{ date_string if date_string is defined else strftime_now('%d %b %Y') }}\n" + CHATML
    prompts = one([user("a")], made(template))
    assert "reads the clock" in prompts.source.history[0]
    pinned = one([user("a")], made(template), template_options={"date_string": "a red ball"})
    assert pinned.source.history == ()
    assert pinned.texts[0].startswith("a red ball\n")


def test_marks_inside_the_instruction():
    tokenizer = made(HEADERS)
    chats = [[system("a cat"), user("what is a cat? ")], [user("hello")]]
    prompts = PromptSet.from_chats(chats, tokenizer, marks={"animal": ["cat", None]})
    at = prompts.marks["animal"]
    assert prompts.pieces[int(prompts.tokens[0][at[0]])] == "Ġcat"
    assert prompts.spans["instruction"][0, 0] <= at[0] < prompts.spans["instruction"][0, 1]
    assert at[1] == -1
    with pytest.raises(PromptError, match="mark 'x' of prompt '1': 'cat' is not in 'hello'"):
        PromptSet.from_chats(chats, tokenizer, marks={"x": [None, "cat"]})


@pytest.mark.parametrize(
    ("messages", "template", "says"),
    [
        (
            [system("be kind"), user("hi")],
            TURNS,
            r"prompt 'q': the chat template refuses .*system, user: no system role",
        ),
        ([user("a"), user("b")], INST, "refuses a conversation of roles user, user: roles must alternate"),
        ([user("a")], "{{ messages[0]['role'] ", "refuses"),
        ([user("a")], "{{ 'nothing of it' }}", r"drops message 1 \(user\)"),
        ([user("a")], "{{ messages[0]['content'] * 2 }}", r"writes 2 times message 1 \(user\)"),
        ([user("hello")], "{{ messages[0]['content'] | length }}{{ messages[0]['content'] }}", "writes something else"),
        ([system("b"), user("a")], "{{ messages[-1]['content'] }}", r"drops message 1 \(system\)"),
        ([assistant("a")], CHATML, r"no message has the role 'user' \(roles: assistant\)"),
        ([user(" ")], CHATML, "last message is empty"),
        ([user(None)], CHATML, r"message 1 \(user\) has content of type NoneType"),
        ([user([{"type": "text", "text": "a"}])], CHATML, "content of type list; only text"),
        ([{"role": "user"}], CHATML, "message 1 needs 'role' and 'content'"),
        ([], CHATML, "a conversation is a list of messages"),
    ],
)
def test_what_cannot_be_placed_is_refused_with_the_prompts_id(messages, template, says):
    tokenizer = made(template)
    with pytest.raises(PromptError, match=says) as caught:
        one(messages, tokenizer, ids=["q"])
    assert "'q'" in str(caught.value)


def test_what_is_missing_is_said():
    with pytest.raises(TokenizerMissingError, match="no tokenizer to render"):
        PromptSet.from_chats([[user("a")]], None)
    with pytest.raises(PromptError, match="no chat template; give one"):
        PromptSet.from_chats([[user("a")]], byte_level())
    with pytest.raises(EmptyPromptsError):
        PromptSet.from_chats([], made(CHATML))


def test_the_real_tokenizer_with_a_template_that_was_brought(stories):
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] | trim }}\n{% endfor %}assistant:"
    prompts = one([user(" Tell me a story. ")], stories, chat_template=template)
    tokens = prompts.tokens[0].tolist()
    assert tokens == stories("user: Tell me a story.\nassistant:")["input_ids"]
    assert tokens[0] == 1
    assert prompts.source.bos_counts == {"tokenizer": 1}
    assert prompts.pieces[tokens[prompts.marks["t_inst"][0]]] == "."
    start, stop = prompts.spans["post"][0]
    assert stories.decode(tokens[start:stop]).strip() == "assistant:"
