"""Loading: formats by their content, fields by name or expression, and an error with its place for each bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest

from interp.errors import EmptyPromptsError, PromptError, TokenizerMissingError
from interp.prompts import PromptSet, load_prompts
from interp.prompts.readers import sniff
from tests.prompts.made_tokenizers import CHATML, INST, byte_level

ROWS = [
    {"text": "the cat sat", "label": "animal", "topic": "cats", "score": 0.5},
    {"text": 'a red ball, with "quotes"\nand a line', "label": "thing", "topic": "balls", "score": 1.5},
    {"text": "où est le chat 🙂", "label": "animal", "topic": "cats", "score": 2.5},
]
TEXTS = [r["text"] for r in ROWS]


@pytest.fixture(scope="module")
def tokenizer():
    return byte_level(add_bos=True, template=CHATML)


@pytest.fixture
def write(tmp_path):
    def put(content, name="prompts.dat"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return put


def lines(rows):
    return "\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n"


def as_csv(delimiter):
    import csv
    import io

    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(ROWS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue()


def as_parquet():
    import io

    import pyarrow
    import pyarrow.parquet

    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), out)
    return out.getvalue()


CONTENTS = {
    "jsonl": lambda: lines(ROWS),
    "jsonl with blank lines": lambda: "\n" + lines(ROWS).replace("\n", "\n\n"),
    "jsonl with windows ends": lambda: lines(ROWS).replace("\n", "\r\n"),
    "jsonl of raw U+2028": lambda: lines([{**ROWS[0], "note": "a\u2028b"}, *ROWS[1:]]),
    "json": lambda: json.dumps(ROWS),
    "json indented": lambda: json.dumps(ROWS, indent=2),
    "json by columns": lambda: json.dumps({k: [r[k] for r in ROWS] for k in ROWS[0]}),
    "json with a mark of its bytes": lambda: b"\xef\xbb\xbf" + json.dumps(ROWS).encode(),
    "json in utf-16": lambda: json.dumps(ROWS, ensure_ascii=False).encode("utf-16"),
    "csv": lambda: as_csv(","),
    "csv with semicolons": lambda: as_csv(";"),
    "tsv": lambda: as_csv("\t"),
    "parquet": as_parquet,
}


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".txt", ".parquet", ""])
@pytest.mark.parametrize("content", CONTENTS)
def test_the_format_is_what_the_content_is_whatever_the_name(write, tokenizer, content, suffix):
    prompts = load_prompts(write(CONTENTS[content](), f"prompts{suffix}"), tokenizer)
    assert prompts.texts == tuple(TEXTS)
    assert prompts.labels.tolist() == ["animal", "thing", "animal"]
    assert prompts.source.format == content.split()[0]
    assert prompts.source.fields == {"text": "text", "label": "label"}
    assert prompts.columns["topic"].tolist() == ["cats", "balls", "cats"]
    assert prompts.hash == PromptSet.from_texts(TEXTS, tokenizer).hash
    assert prompts.source.name == f"prompts{suffix}"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('["the cat", "a dog"]', "json"),
        ('"the cat"\n"a dog"\n', "jsonl"),
        ("the cat\na dog\n", "text"),
        ("[INST] the cat [/INST]\n[INST] a dog [/INST]\n", "text"),
        ("{braces} come first\nthen not", "json"),
        ("Well, the cat sat.\nYes, it did, and a dog ran.\n", "text"),
        ("The cat, it sat on a mat today\nA dog, it ran to the park\n", "text"),
    ],
)
def test_texts_alone(content, found):
    assert sniff(content) == found


@pytest.mark.parametrize("content", ['["the cat", "a dog"]', '"the cat"\n"a dog"\n', "the cat\na dog\n"])
def test_lists_of_texts(write, tokenizer, content):
    assert load_prompts(write(content), tokenizer).texts == ("the cat", "a dog")


def test_plain_text_is_one_prompt_a_line_and_says_what_it_left_out(write, tokenizer):
    prompts = load_prompts(write("the cat\r\n\n  \na dog"), tokenizer)
    assert prompts.texts == ("the cat", "a dog")
    assert prompts.source.history == ("left out 2 blank lines",)


def test_a_table_of_one_column_goes_by_its_suffix(write, tokenizer):
    content = "prompt\nthe cat\na dog\n"
    assert load_prompts(write(content, "a.csv"), tokenizer).texts == ("the cat", "a dog")
    assert load_prompts(write(content, "a.txt"), tokenizer).texts == ("prompt", "the cat", "a dog")
    assert load_prompts(write(content, "a.txt"), tokenizer, format="csv").texts == ("the cat", "a dog")
    assert load_prompts(write('"prompt"\n"the cat"\n', "a.csv"), tokenizer).texts == ("the cat",)


def test_format_can_be_said(write, tokenizer):
    path = write("name, verb\nthe cat, sat\n")
    with pytest.raises(PromptError, match="which field"):
        load_prompts(path, tokenizer)
    assert load_prompts(path, tokenizer, format="text").texts == ("name, verb", "the cat, sat")
    with pytest.raises(PromptError, match="unknown format 'xml'; formats are jsonl"):
        load_prompts(path, tokenizer, format="xml")


def test_raw_token_ids_need_no_tokenizer(write):
    for content in ("[[5, 6], [7]]", "[5, 6]\n[7]\n", lines([{"tokens": [5, 6]}, {"tokens": [7]}])):
        prompts = load_prompts(write(content))
        assert [t.tolist() for t in prompts.tokens] == [[5, 6], [7]]
        assert prompts.source.bos == "given"
    table = load_prompts(write('input_ids,label\n"[5, 6]",0\n[7],1\n', "a.csv"))
    assert [t.tolist() for t in table.tokens] == [[5, 6], [7]]
    assert table.labels.tolist() == [0, 1]
    with pytest.raises(PromptError, match=r"line 3, input_ids: expected token ids such as \[1, 2\], got '7;8'"):
        load_prompts(write("input_ids,label\n[5],0\n7;8,1\n", "a.csv"))


def test_token_ids_take_marks_by_index(write):
    path = write(lines([{"tokens": [5, 6], "verb": 1}, {"tokens": [7], "verb": None}]))
    assert load_prompts(path, marks={"verb": "verb"}).marks["verb"].tolist() == [1, -1]
    with pytest.raises(PromptError, match=r"row 1, mark 'verb': expected a token index below 2 .* got 5"):
        load_prompts(write(lines([{"tokens": [5, 6], "verb": 5}])), marks={"verb": "verb"})


def test_messages_are_chats(write, tokenizer):
    chats = [[{"role": "user", "content": "what is a cat?"}], [{"role": "user", "content": "hello"}]]
    direct = PromptSet.from_chats(chats, tokenizer)
    for content in (json.dumps(chats), lines([{"messages": c, "label": i} for i, c in enumerate(chats)])):
        prompts = load_prompts(write(content), tokenizer)
        assert prompts.hash == direct.hash
        assert prompts.source.chat_template == direct.source.chat_template
    single = load_prompts(write(json.dumps({"messages": chats[0]}), "one.json"), tokenizer)
    assert single.tokens[0].tolist() == direct.tokens[0].tolist()


def test_texts_in_a_chat_template(write, tokenizer):
    path = write(json.dumps(["what is a cat?", "hello"]))
    chat = load_prompts(path, tokenizer, template="chat", system="you are kind")
    messages = [[{"role": "system", "content": "you are kind"}, {"role": "user", "content": t}] for t in chat_texts()]
    assert chat.hash == PromptSet.from_chats(messages, tokenizer).hash
    brought = load_prompts(path, tokenizer, template=INST)
    assert brought.texts[1] == "<s>[INST] hello [/INST]"


def chat_texts():
    return ["what is a cat?", "hello"]


def test_data_sets_in_memory_and_on_disk(tmp_path, tokenizer):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list(ROWS)
    expected = PromptSet.from_texts(TEXTS, tokenizer).hash
    assert load_prompts(rows, tokenizer).hash == expected
    assert load_prompts(rows.to_iterable_dataset(), tokenizer, limit=2).texts == tuple(TEXTS[:2])
    rows.save_to_disk(tmp_path / "one")
    assert load_prompts(tmp_path / "one", tokenizer).hash == expected
    splits = datasets.DatasetDict({"train": rows, "test": rows.select([0])})
    splits.save_to_disk(tmp_path / "two")
    for source in (splits, tmp_path / "two"):
        with pytest.raises(PromptError, match="several splits; choose one with split=: train, test"):
            load_prompts(source, tokenizer)
        assert load_prompts(source, tokenizer, split="test").texts == (TEXTS[0],)
        with pytest.raises(PromptError, match="no split 'dev'; it has: train, test"):
            load_prompts(source, tokenizer, split="dev")
    (tmp_path / "one" / "state.json").write_text("{}")
    with pytest.raises(PromptError, match="cannot read the data set one"):
        load_prompts(tmp_path / "one", tokenizer)


def test_frames_and_lists(tokenizer):
    pandas = pytest.importorskip("pandas")
    expected = PromptSet.from_texts(TEXTS, tokenizer).hash
    assert load_prompts(pandas.DataFrame(ROWS), tokenizer).hash == expected
    assert load_prompts(ROWS, tokenizer).hash == expected
    assert load_prompts(TEXTS, tokenizer).hash == expected
    with pytest.raises(PromptError, match="row 2, text: field 'text' is missing"):
        load_prompts(pandas.DataFrame({"text": ["a", None]}), tokenizer)


def test_ids_groups_pairs_and_limit(write, tokenizer):
    rows = [{"id": 7, "text": "a", "group": "g", "pair": 0}, {"id": 8, "text": "b", "group": "h", "pair": 0}]
    prompts = load_prompts(write(lines(rows)), tokenizer)
    assert (prompts.ids, prompts.groups.tolist(), prompts.pairs.tolist()) == (("7", "8"), ["g", "h"], ["0", "0"])
    plain = load_prompts(write(lines(rows)), tokenizer, id=False, group=False, pair=False)
    assert (plain.ids, plain.groups, plain.pairs) == (("0", "1"), None, None)
    first = load_prompts(write(lines(rows)), tokenizer, limit=1)
    assert first.ids == ("7",)
    assert first.source.history == ("the first 1 of 2 rows",)
    assert load_prompts(write(lines(rows)), tokenizer, limit=5).source.history == ()


def test_numbers_in_a_text_table_become_numbers_where_all_are(write, tokenizer):
    prompts = load_prompts(write("text,label,code,mixed\na cat,1,01,1\na dog,0,02,x\n"), tokenizer)
    assert prompts.labels.dtype == np.int64
    assert prompts.columns["code"].tolist() == ["01", "02"]
    assert prompts.columns["mixed"].tolist() == ["1", "x"]


# -- expressions -------------------------------------------------------------------------------------------------------


def test_label_by_pattern_and_by_function(write, tokenizer):
    path = write(lines([{"text": "a", "case": "plural_singular"}, {"text": "b", "case": "singular_plural"}]))
    assert load_prompts(path, tokenizer, label="case~^(singular|plural)").labels.tolist() == ["plural", "singular"]
    assert load_prompts(path, tokenizer, label="case~[a-z]+$").labels.tolist() == ["singular", "plural"]
    prompts = load_prompts(path, tokenizer, label=lambda row: row["case"].startswith("p"))
    assert prompts.labels.tolist() == [True, False]
    assert prompts.source.fields["label"] == "<lambda>"


def test_groups_over_several_fields_join_all_that_share_a_value(tokenizer):
    rows = [
        {"text": "1", "a": "friend", "b": "friends"},
        {"text": "2", "a": "men", "b": "man"},
        {"text": "3", "a": "friends", "b": "pals"},
        {"text": "4", "a": "man", "b": "guy"},
        {"text": "5", "a": "cat", "b": "cats"},
        {"text": "6", "a": "pals", "b": "pals"},
    ]
    groups = load_prompts(rows, tokenizer, text="text", group="a,b").groups.tolist()
    assert groups == [
        "friend/friends/pals",
        "guy/man/men",
        "friend/friends/pals",
        "guy/man/men",
        "cat/cats",
        "friend/friends/pals",
    ]
    assert load_prompts(rows, tokenizer, text="text", group="a").groups.tolist() == [r["a"] for r in rows]
    backwards = load_prompts(rows[::-1], tokenizer, text="text", group="a,b").groups.tolist()
    assert backwards == groups[::-1]


def test_no_value_is_in_two_groups(tokenizer):
    rng = np.random.default_rng(0)
    rows = [{"text": "x", "a": f"n{rng.integers(40)}", "b": f"n{rng.integers(40)}"} for _ in range(30)]
    groups = load_prompts(rows, tokenizer, text="text", group="a,b").groups
    where: dict[str, set[str]] = {}
    for row, group in zip(rows, groups, strict=True):
        for value in (row["a"], row["b"]):
            where.setdefault(value, set()).add(group)
    assert all(len(found) == 1 for found in where.values())
    assert len(set(groups)) > 1


def test_a_column_whose_name_looks_like_an_expression_is_itself(write, tokenizer):
    path = write(lines([{"text": "a", "x,y": 1, "u~v": 2}]))
    assert load_prompts(path, tokenizer, label="x,y").labels.tolist() == [1]
    assert load_prompts(path, tokenizer, label="u~v").labels.tolist() == [2]


def test_marks_from_fields(write, tokenizer):
    rows = [
        {"text": "the cat and the dog", "start": "the", "verb": "cat", "at": [4, 7]},
        {"text": "a red ball", "start": "a", "verb": None, "at": [2, 10]},
    ]
    path = write(lines(rows))
    prompts = load_prompts(path, tokenizer, marks={"s": "^start", "v": "verb", "at": "at", "w": r"text~(\w+)$"})
    pieces = {k: [prompts.pieces[int(prompts.tokens[i][v[i]])] for i in range(2)] for k, v in prompts.marks.items()}
    assert prompts.marks["s"].tolist() == [1, 1]
    assert pieces["v"][0] == "Ġcat"
    assert prompts.marks["v"][1] == -1
    assert prompts.marks["at"][0] == prompts.marks["v"][0]
    assert prompts.marks["at"][1] == prompts.marks["w"][1] == prompts.marks["last"][1]
    table = load_prompts(write('text,at\nthe cat,"[4, 7]"\na dog,\n'), tokenizer, marks={"at": "at"})
    assert table.marks["at"].tolist() == [len(table.tokens[0]) - 1, -1]


# -- what is wrong, and where ------------------------------------------------------------------------------------------

BAD_FIELDS = [
    ({"label": "cas"}, "label='cas': there is no field 'cas'; fields are: text, label"),
    ({"label": "text,label"}, "names 2 fields; a label comes from one"),
    ({"label": "label~("}, "'.' is not a regular expression"),
    ({"label": "label~^x"}, r"line 1, label: field 'label' is 'animal', which '\^x' does not match"),
    ({"label": "label~^(x)?"}, "the first group of .* is empty"),
    ({"label": lambda row: 1 / 0}, "line 1: the label function raised ZeroDivisionError"),
    ({"label": lambda row: []}, "line 1: a label is text or a number, not list"),
    ({"text": "score"}, r"line 1: the prompt \(score\) is a float \(0.5\), not text"),
    ({"text": "nope"}, "text='nope': there is no field 'nope'"),
    ({"marks": {"m": "topic"}}, "line 1, mark 'm': 'cats' is not in 'the cat sat'"),
    ({"marks": {"m": "^label"}}, "line 1, mark 'm': the prompt 'the cat sat' does not begin with 'animal'"),
    (
        {"marks": {"m": "score"}},
        r"expected a substring of the prompt or a \[start, stop\] range of characters, got 0.5",
    ),
    ({"marks": {"m": "nope"}}, "there is no field 'nope'"),
    ({"marks": {"m": r"text~\w"}}, "'t' is more than once in 'the cat sat'"),
    ({"bos": "perhaps"}, "got 'perhaps'"),
    ({"limit": 0}, "limit must be at least 1, got 0"),
    ({"split": "train"}, "split='train' was given, but prompts.dat is a single file"),
    ({"records": "x"}, "is JSON lines; records='x'"),
    ({"system": "be kind"}, "system='be kind' would be ignored"),
    ({"template_options": {"a": 1}}, "would be ignored"),
    ({"template": "no.jinja"}, "no chat template no.jinja"),
    ({"id": "label"}, r"label 'animal' is used twice \(line 1 and line 3\)"),
]


@pytest.mark.parametrize(("options", "says"), BAD_FIELDS)
def test_bad_requests_say_what_there_is(write, tokenizer, options, says):
    with pytest.raises(PromptError, match=says):
        load_prompts(write(lines(ROWS)), tokenizer, **options)


BAD_CONTENTS = [
    ('{"text": "a"}\n{"text": "b"\n', r"prompts.dat, line 2 is not JSON \(.*\): .\"text\": \"b\""),
    ('{"text": "a"\n{"text": "b"}\n', "prompts.dat, line 1 is not JSON"),
    ('[\n {"text": "a"},\n {"text": b}\n]', "prompts.dat, line 3 is not JSON"),
    ('{"text": "a"}\n{"txet": "b"}\n', "line 2, text: there is no field 'text'; fields here: txet"),
    ('{"text": "a"}\n{"text": null}\n', "line 2, text: field 'text' is missing"),
    ('{"text": "a"}\n{"text": NaN}\n', r"line 2, text: field 'text' is missing \(nan\)"),
    ('{"text": "a"}\n{"text": ""}\n', "line 2: the prompt .text. is an empty text"),
    ('{"text": "a"}\n{"text": 5}\n', "line 2: the prompt .text. is a int .5., not text"),
    ('{"text": "a"}\n{"text": [5]}\n', "mixes types: line 1 holds text, line 2 tokens"),
    ('{"text": "a"}\n"b"\n', "mixes types: line 1 is an object, line 2 is a text"),
    ('["a", {"text": "b"}]', "mixes types: row 1 is a text, row 2 is an object"),
    ('["a", null]', "row 2 is null; rows are objects"),
    ("[1, 2]", "row 1 is a int: 1; rows are"),
    ('{"text": "a", "label": "x"}\n{"text": "b", "label": 1}\n', "mixes label types: text .line 1., number .line 2."),
    ('{"text": "a", "label": "x"}\n{"text": "b", "label": null}\n', "line 2, label: field 'label' is missing"),
    ('{"text": "a", "label": 1}\n{"text": "b"}\n', "line 2, label: there is no field 'label'"),
    ('{"text": "a", "id": 1}\n{"text": "b", "id": 1}\n', r"id '1' is used twice \(line 1 and line 2\).*id=False"),
    ('{"text": "a", "prompt": "b"}\n', "both 'text' and 'prompt' could hold them. Say it with text=FIELD"),
    ('{"one": "a", "two": "b"}\n', "no field has a name that says so. Say it with text=FIELD; fields are: one, two"),
    ('{"samples": [{"a": "b"}], "name": "c"}', r"records=KEY, or .* Lists in it: 'samples' \(1\)"),
    ("text,label\na,1\nb\n", "line 3 has 1 cells, but the header names 2"),
    ("text,text\na,1\n", "repeats a column name"),
    ('text,label\na,1\nb,"2\n', "is not CSV"),
    ("text,label\na,\n", "line 2: the label is missing"),
    (b"\x1f\x8b\x08rest", "is gzip-compressed; unpack it first"),
    (b"PAR1 but then not", "is not readable Parquet"),
    (b"caf\xe9\n", r"line 1: byte 0xe9 at offset 3 is not utf-8; say what it is with encoding='latin-1'"),
    (b"good\nbad \xff\n", "line 2: byte 0xff"),
]


@pytest.mark.parametrize(("content", "says"), BAD_CONTENTS)
def test_bad_contents_name_the_place(write, tokenizer, content, says):
    name = "prompts.csv" if "CSV" in says or "cells" in says or "column name" in says else "prompts.dat"
    with pytest.raises(PromptError, match=says):
        load_prompts(write(content, name), tokenizer)


@pytest.mark.parametrize(
    ("content", "prompts"),
    [
        ('{"text": "a cat"}', [["a cat"]]),
        ('{"text": "a cat", "tags": ["x"]}', [["a cat"]]),
        ('{"text": ["a cat", "a dog"], "tags": ["x", "y"]}', [["a cat"], ["a dog"]]),
        ('{"tokens": [5, 6], "tags": ["x"]}', [[5, 6]]),
        ('{"tokens": [[5, 6], [7]]}', [[5, 6], [7]]),
        ('{"name": "n", "rows": [{"text": "a cat"}]}', None),
    ],
)
def test_one_json_object_is_a_row_or_a_table(write, tokenizer, content, prompts):
    path = write(content, "one.json")
    if prompts is None:
        with pytest.raises(PromptError, match="records=KEY"):
            load_prompts(path, tokenizer)
        assert load_prompts(path, tokenizer, records="rows").texts == ("a cat",)
        with pytest.raises(PromptError, match=r"no list 'row'; lists in it: 'rows' \(1\)"):
            load_prompts(path, tokenizer, records="row")
        return
    found = load_prompts(path, tokenizer)
    assert [[t] for t in found.texts] == prompts if found.texts else [t.tolist() for t in found.tokens] == prompts


def test_json_that_is_no_rows(write, tokenizer):
    with pytest.raises(PromptError, match="holds one JSON int, not rows"):
        load_prompts(write("5", "a.json"), tokenizer)


@pytest.mark.parametrize("content", ["", "  \n\n", "[]", b"\xef\xbb\xbf"])
def test_nothing_in_it(write, tokenizer, content):
    with pytest.raises(EmptyPromptsError):
        load_prompts(write(content), tokenizer)


def test_a_header_alone_has_no_rows(write, tokenizer):
    with pytest.raises(EmptyPromptsError, match="has no rows"):
        load_prompts(write("text,label\n", "a.csv"), tokenizer)


def test_another_encoding_can_be_said(write, tokenizer):
    path = write("café\n".encode("latin-1"))
    assert load_prompts(path, tokenizer, encoding="latin-1").texts == ("café",)
    with pytest.raises(PromptError, match="no encoding 'klingon'"):
        load_prompts(path, tokenizer, encoding="klingon")


def test_a_missing_file_names_its_neighbours(write, tmp_path, tokenizer):
    write("a", "prompts.jsonl")
    with pytest.raises(PromptError, match=r"there is no file .*promts.jsonl; did you mean 'prompts.jsonl'\?"):
        load_prompts(tmp_path / "promts.jsonl", tokenizer)
    with pytest.raises(PromptError, match=r"the folder .*nowhere does not exist"):
        load_prompts(tmp_path / "nowhere" / "a.jsonl", tokenizer)


def test_a_folder_that_is_no_data_set(write, tmp_path, tokenizer):
    write("a", "prompts.jsonl")
    with pytest.raises(PromptError, match=r"is a folder but no saved data set; give a file \(in it: prompts.jsonl"):
        load_prompts(tmp_path, tokenizer)


def test_text_without_a_tokenizer(write):
    with pytest.raises(TokenizerMissingError, match="holds texts, but there is no tokenizer"):
        load_prompts(write("the cat\n"))
    with pytest.raises(TokenizerMissingError, match="holds chats"):
        load_prompts([[{"role": "user", "content": "a"}]])


def test_what_token_ids_cannot_use_is_refused():
    for options in ({"bos": "always"}, {"template": "chat"}, {"system": "a"}):
        with pytest.raises(PromptError, match="would be ignored"):
            load_prompts([{"tokens": [1]}], **options)


@pytest.mark.parametrize("source", [5, {"a": 1}, b"text", None])
def test_what_holds_no_prompts(source):
    with pytest.raises(PromptError, match="cannot read prompts from a"):
        load_prompts(source)


# -- the shared files --------------------------------------------------------------------------------------------------


def test_subject_verb_pairs(shared, stories):
    """A .json that is really JSON lines; the noun, in both numbers, is the group."""
    folder = shared / "circuits" / "feature_circuits" / "data"
    pattern = r"clean_prefix,patch_prefix~^\w+ (\w+)"
    simple = load_prompts(folder / "simple_train.json", stories, label="case", group=pattern)
    assert simple.source.format == "jsonl"
    assert simple.source.bos_counts == {"tokenizer": len(simple)}
    assert set(simple.labels.tolist()) == {"singular", "plural"}
    assert {"friend/friends", "man/men"} <= set(simple.groups.tolist())
    assert len(set(simple.groups.tolist())) == 20
    longer = load_prompts(folder / "nounpp_train.json", stories, label="case~^(singular|plural)", group=pattern)
    assert set(longer.labels.tolist()) == {"singular", "plural"}
    rows = zip(longer.texts, longer.groups, longer.labels, longer.columns["clean_answer"], strict=True)
    for text, group, label, verb in rows:
        assert text.split()[1] in group.split("/")
        assert verb.endswith("s") == (label == "singular")


def test_the_other_shared_files(shared, stories):
    sizes = {
        "text/tinystories_1000.json": ("json", 1000, {}),
        "circuits/eap_ig/greater_than_data.csv": ("csv", 1000, {}),
        "circuits/eap_ig/ioi_llama.csv": ("csv", 499, {}),
        "circuits/mib/IOI_task/templates.json": ("json", 70, {}),
        "prompts/refusal_direction/splits/harmful_val.json": ("json", 39, {}),
        "prompts/xstest/xstest_prompts.csv": ("csv", 450, {}),
        "circuits/blimp/anaphor_gender_agreement.jsonl": ("jsonl", 1000, {"text": "sentence_good"}),
        "facts/lre_relations/factual/star_constellation.json": ("json", 362, {"records": "samples", "text": "subject"}),
    }
    for name, (format, count, options) in sizes.items():
        prompts = load_prompts(shared / name, stories, **options)
        assert (prompts.source.format, len(prompts)) == (format, count), name
        assert prompts.source.bos_counts == {"tokenizer": count}
    stories_set = load_prompts(shared / "text" / "tinystories_1000.json", stories, limit=3)
    assert [t.tolist() for t in stories_set.tokens] == stories(list(stories_set.texts))["input_ids"]


def test_minimal_pairs_with_a_mark_at_the_shared_prefix(shared, stories):
    path = shared / "circuits" / "blimp" / "principle_A_case_1.jsonl"
    prompts = load_prompts(path, stories, text="sentence_good", marks={"prefix_end": "^one_prefix_prefix"}, limit=50)
    for i, (text, prefix) in enumerate(zip(prompts.texts, prompts.columns["one_prefix_prefix"], strict=True)):
        assert text.startswith(prefix)
        at = prompts.marks["prefix_end"][i]
        assert stories.decode(prompts.tokens[i][: at + 1].tolist(), skip_special_tokens=True).strip() == prefix
