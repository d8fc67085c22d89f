"""Conversations to tokens: the chat template's own pieces say where the instruction ends and the answer begins.

Where a message stands in the rendered conversation is found by rendering once more with a marker in its place: what is
before and behind the marker is the template's, what is between them in the real rendering is the message, however the
template trimmed or escaped it and however often the same words stand elsewhere. No index is ever assumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EmptyPromptsError, PromptError, TokenizerMissingError
from .align import substring_span, token_span, tokens_before
from .build import assemble, prompt_ids
from .columns import Values
from .encode import Encoded, encode_rendered
from .hashing import text_hash, tokenizer_hash
from .paths import missing_file
from .promptset import PromptSet
from .source import Source

Message = Mapping[str, Any]
SPANS = ("system", "instruction", "post")


@dataclass(frozen=True)
class Rendered:
    """A conversation as text, and the half-open character ranges of its parts.

    ``system`` is the system message; ``instruction`` the last user message; ``post`` what the template writes between
    it and the answer. Blanks at the ends of the messages do not count; a part that is not there is missing.
    """

    text: str
    spans: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class ChatTemplate:
    """A Jinja chat template with the tokenizer that renders it, and what is passed to it.

    ``add_generation_prompt`` of ``None`` means: unless the last message is the assistant's.
    """

    tokenizer: Any
    text: str
    own: bool
    add_generation_prompt: bool | None
    options: dict[str, Any]

    @classmethod
    def find(
        cls, tokenizer: Any, given: str | Path | None, add_generation_prompt: bool | None, options: Mapping[str, Any]
    ) -> ChatTemplate:
        """The template that was given (a file, or Jinja text), or else the tokenizer's own."""
        if tokenizer is None:
            raise TokenizerMissingError("chat messages were given, but there is no tokenizer to render and encode them")
        own = tokenizer.get_chat_template() if tokenizer.chat_template else None
        if given is None and own is None:
            raise PromptError(
                "this tokenizer has no chat template; give one, template=FILE or --template FILE with Jinja text, "
                "or use plain texts"
            )
        text = str(own) if given is None else _read_template(given)
        return cls(tokenizer, text, text == own, add_generation_prompt, dict(options))

    def notes(self) -> tuple[str, ...]:
        """What a reader of the prompts should know about the template."""
        if "strftime_now" in self.text and "date_string" not in self.options:
            return (
                "the chat template reads the clock, so tokens may differ tomorrow; set date_string in template_options",
            )
        return ()

    def render(self, messages: Sequence[Message], *, ask: bool | None = None) -> str:
        """The conversation as one text; ``ask`` overrides ``add_generation_prompt``.

        Raises:
            PromptError: the template refuses it (a system message where it knows none, say) or is broken.
        """
        ask = self.add_generation_prompt if ask is None else ask
        if ask is None:
            ask = messages[-1]["role"] != "assistant"
        from jinja2.exceptions import TemplateError

        try:
            return self.tokenizer.apply_chat_template(
                [dict(m) for m in messages],
                chat_template=self.text,
                add_generation_prompt=ask,
                tokenize=False,
                **self.options,
            )
        except (TemplateError, TypeError, KeyError, ValueError, AttributeError) as error:
            roles = ", ".join(str(m["role"]) for m in messages)
            raise PromptError(
                f"the chat template refuses a conversation of roles {roles}: {error}; change the messages to what the "
                "template knows (put system text into the user's message, say), or give another chat_template"
            ) from error

    def locate(self, messages: Sequence[Message]) -> Rendered:
        """Render, and find the system message, the instruction, and the template's part after it."""
        _check_messages(messages)
        text = self.render(messages)
        roles = [m["role"] for m in messages]
        user = len(roles) - 1 - roles[::-1].index("user")
        spans = {}
        if roles[0] == "system" and messages[0]["content"].strip():
            spans["system"] = _trim(text, self._message_span(messages, 0, text))
        start, stop = _trim(text, self._message_span(messages, user, text))
        if start == stop:
            raise PromptError("the template leaves nothing of the user's last message")
        spans["instruction"] = (start, stop)
        end = self._answer_start(messages, user + 1, text)
        if stop < end:
            spans["post"] = (stop, end)
        return Rendered(text, spans)

    def _answer_start(self, messages: Sequence[Message], answer: int, text: str) -> int:
        """Where the part after the instruction ends: where a model begins to answer, or the next message begins."""
        if answer < len(messages) and messages[answer]["role"] == "assistant":
            asked = self.render(messages[:answer], ask=True)
            if text.startswith(asked):
                return len(asked)
        after = next((k for k in range(answer, len(messages)) if messages[k]["content"].strip()), None)
        return len(text) if after is None else _trim(text, self._message_span(messages, after, text))[0]

    def _message_span(self, messages: Sequence[Message], which: int, text: str) -> tuple[int, int]:
        """Characters of ``text`` that message ``which`` became, found with a marker in its place."""
        marker = _marker(text)
        changed = [dict(m) for m in messages]
        changed[which]["content"] = marker
        around = self.render(changed)
        what = f"message {which + 1} ({messages[which]['role']})"
        count = around.count(marker)
        if count != 1:
            drops = "drops" if count == 0 else f"writes {count} times"
            raise PromptError(f"the chat template {drops} {what}, so it is unclear where it stands in the prompt")
        before, behind = around.split(marker)
        fits = len(before) + len(behind) <= len(text)
        if not (fits and text.startswith(before) and text.endswith(behind)):
            raise PromptError(
                f"the chat template writes something else around {what} than around other words in its place, so it is "
                "unclear where the message ends"
            )
        return len(before), len(text) - len(behind)


def chats_to_prompts(
    chats: Iterable[Sequence[Message]],
    tokenizer: Any,
    *,
    bos: str = "auto",
    chat_template: str | Path | None = None,
    add_generation_prompt: bool | None = None,
    template_options: Mapping[str, Any] | None = None,
    ids: Sequence[str] | None = None,
    labels: Values | None = None,
    groups: Values | None = None,
    pairs: Values | None = None,
    columns: Mapping[str, Any] | None = None,
    marks: Mapping[str, Sequence[str | None]] | None = None,
    name: str = "memory",
) -> PromptSet:
    """Render conversations (lists of ``{"role", "content"}``) and encode them exactly as ``apply_chat_template`` does.

    Marks: ``t_inst``, the last token of the last user message; ``t_post``, the last token before the answer (-1 if the
    template writes nothing after the message); ``last``. Spans: ``system``, ``instruction``, ``post``. A token that
    the vocabulary merges across the end of a message belongs to the message. Further ``marks`` are substrings of the
    last user message.

    ``bos='auto'`` lets the tokenizer's own template alone decide; for a template given here, the tokenizer's habit with
    plain text decides, and a BOS that the template writes is never doubled. ``chat_template`` is a Jinja file or text,
    for tokenizers without a template or instead of theirs. ``add_generation_prompt=None`` adds it unless the
    conversation ends with the assistant. ``template_options`` are passed to the template (``enable_thinking``, say).
    The rest is as for `texts_to_prompts`.

    Raises:
        TokenizerMissingError: no tokenizer. EmptyPromptsError: no conversations.
        PromptError: no template, a template that refuses, drops or repeats a message, or messages it cannot place;
            with the prompt's id.
    """
    template = ChatTemplate.find(tokenizer, chat_template, add_generation_prompt, template_options or {})
    given = list(chats)
    if not given:
        raise EmptyPromptsError(f"there are no conversations in {name}")
    names = prompt_ids(len(given), ids)
    rendered = []
    for who, messages in zip(names, given, strict=True):
        with _naming(f"prompt {who!r}"):
            rendered.append(template.locate(messages))
    encoded = encode_rendered([r.text for r in rendered], tokenizer, bos=bos, own_template=template.own)
    spans = {s: np.full((len(given), 2), -1, dtype=np.int64) for s in SPANS}
    for i, (who, one, tokens) in enumerate(zip(names, rendered, encoded, strict=True)):
        with _naming(f"prompt {who!r}"):
            for span, found in _token_spans(one, tokens, tokenizer).items():
                spans[span][i] = found
    found_marks = {
        "t_inst": np.maximum(spans["instruction"][:, 1] - 1, -1),
        "t_post": np.where(spans["post"][:, 1] > 0, spans["post"][:, 1] - 1, -1),
    }
    for mark, parts in (marks or {}).items():
        if len(parts) != len(given):
            raise PromptError(f"mark {mark!r} has {len(parts)} entries for {len(given)} prompts")
        rows = zip(names, rendered, encoded, parts, strict=True)
        found_marks[mark] = np.array([_part_mark(mark, *row, tokenizer) for row in rows], dtype=np.int64)
    return assemble(
        encoded,
        tokenizer,
        Source(
            name,
            "chat",
            bos=bos,
            tokenizer=tokenizer_hash(tokenizer),
            chat_template=text_hash(template.text),
            template_options={**template.options, "add_generation_prompt": add_generation_prompt},
            history=template.notes(),
        ),
        ids=names,
        texts=tuple(r.text for r in rendered),
        marks=found_marks,
        spans={k: v for k, v in spans.items() if (v >= 0).any()},
        about=(labels, groups, pairs),
        columns=columns,
    )


def _token_spans(rendered: Rendered, encoded: Encoded, tokenizer: Any) -> dict[str, tuple[int, int]]:
    """Token ranges of the parts; tokens shared by two parts go to the message rather than to the template."""
    found: dict[str, tuple[int, int]] = {}
    for span in ("system", "instruction"):
        if span in rendered.spans:
            found[span] = token_span(rendered.text, encoded, *rendered.spans[span], tokenizer)
    if "post" in rendered.spans:
        first = found["instruction"][1]
        last = tokens_before(rendered.text, encoded, rendered.spans["post"][1], tokenizer)
        if first < last:
            found["post"] = (first, last)
    return found


def _part_mark(mark: str, who: str, rendered: Rendered, encoded: Encoded, part: str | None, tokenizer: Any) -> int:
    if part is None:
        return -1
    with _naming(f"mark {mark!r} of prompt {who!r}"):
        start, stop = substring_span(rendered.text, part, within=rendered.spans["instruction"])
        return token_span(rendered.text, encoded, start, stop, tokenizer)[1] - 1


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Put the name of the prompt in front of what is wrong with it."""
    try:
        yield
    except PromptError as error:
        raise PromptError(f"{what}: {error}") from error


def _check_messages(messages: Sequence[Message]) -> None:
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise PromptError(f"a conversation is a list of messages, got {str(messages)[:60]!r}")
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            raise PromptError(f"message {i + 1} needs 'role' and 'content', got {str(message)[:60]}")
        if not isinstance(message["content"], str):
            kind = type(message["content"]).__name__
            raise PromptError(f"message {i + 1} ({message['role']}) has content of type {kind}; only text is supported")
    users = [m for m in messages if m["role"] == "user"]
    if not users:
        roles = ", ".join(str(m["role"]) for m in messages)
        raise PromptError(f"no message has the role 'user' (roles: {roles})")
    if not users[-1]["content"].strip():
        raise PromptError("the user's last message is empty")


def _trim(text: str, span: tuple[int, int]) -> tuple[int, int]:
    start, stop = span
    while start < stop and text[stop - 1].isspace():
        stop -= 1
    while start < stop and text[start].isspace():
        start += 1
    return start, stop


def _marker(text: str) -> str:
    """A word that no template trims or escapes and that is not in the text."""
    marker, n = "interpmarker", 0
    while marker in text:
        n += 1
        marker = f"interpmarker{n}x"
    return marker


def _read_template(given: str | Path) -> str:
    if isinstance(given, str) and ("{{" in given or "{%" in given):
        return given
    path = Path(given)
    if not path.is_file():
        raise missing_file(path, "chat template")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"cannot read the chat template {path}: {error}") from error
