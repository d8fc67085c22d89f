"""What a lens saw, as reports: by depth with intervals over texts, and token by token for one text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CircuitError
from ..prompts import PromptSet
from ..report import Report
from .headrows import groups_of, mean_interval
from .lens import LensReading, read_lens
from .translators import Translators

if TYPE_CHECKING:
    from ..models import Model

Array = NDArray[Any]
_SHOWN = 16  # tokens of the text that is shown whole
_MEASURES = ("kl", "agrees", "entropy", "log_p")


def lens_report(
    model: Model,
    prompts: PromptSet,
    *,
    at: str | Sequence[str] = "all",
    translators: Translators | None = None,
    targets: Sequence[int] | None = None,
    held_out: bool | None = None,
    bootstrap: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    command: str | None = None,
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> Report:
    """The logit lens by depth and, with translators, the tuned lens beside it on the same tokens.

    Each number is a mean over tokens, with an interval that resamples groups of prompts. A depth *knows* something if
    its KL lies below that of the best constant guess, interval included.

    Args:
        held_out: the translators saw none of these texts; ``None``: not known.

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7, 5], [8, 6, 9, 8]])
        >>> report = lens_report(model, prompts, at="last")
        >>> [row["site"] for row in report.rows if row["knows"]]
        ['resid_post.1']
    """
    options: dict[str, Any] = {"at": at, "targets": targets, "batch_tokens": batch_tokens, "progress": progress}
    readings = {"logit": read_lens(model, prompts, **options)}
    if translators is not None:
        readings["tuned"] = read_lens(model, prompts, translators=translators, **options)
    use = {"bootstrap": bootstrap, "level": level, "seed": seed}
    groups, plain = groups_of(prompts), readings["logit"]
    rows = [row for name, seen in readings.items() for row in _rows(name, seen, groups, use)]
    if "tuned" in readings:
        gain = mean_interval((plain.kl - readings["tuned"].kl).T, groups[plain.example], **use)
        for row, *ends in zip([r for r in rows if r["lens"] == "tuned"], *gain, strict=True):
            row |= dict(zip(("gain", "gain_lo", "gain_hi"), ends, strict=True))
    meta: dict[str, Any] = {
        "ci_level": level, "unit": "nats", "constant_kl": plain.constant_kl, "unrelated_kl": plain.unrelated_kl,
        "at": at if isinstance(at, str) else list(at), "tokens": len(plain.pos), "held_out": held_out,
        "target": "given" if targets is not None else "next token", "text": shown_text(model, prompts, readings),
    }  # fmt: skip
    warnings = _warnings(readings, groups, held_out)
    if translators is not None:
        meta["trained"] = translators.trained
    about = model.provenance(prompts=prompts.hash, seed=seed, command=command)
    return Report("lens", "What each depth would say", _headline(rows, plain), rows, about, warnings, meta)


def _rows(name: str, seen: LensReading, groups: Array, use: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    known = seen.target >= 0
    for i, site in enumerate(seen.sites):
        row: dict[str, Any] = {"lens": name, "site": str(site), "depth": i}
        for measure in _MEASURES:
            values = getattr(seen, measure)[i]
            which = known if measure == "log_p" else np.ones(len(values), bool)
            if not which.any():
                row |= dict.fromkeys((measure, f"{measure}_lo", f"{measure}_hi"))
                continue
            ends = mean_interval(values[which, None], groups[seen.example[which]], **use)
            row |= {f"{measure}{end}": float(x[0]) for end, x in zip(("", "_lo", "_hi"), ends, strict=True)}
        row["rank"] = float(np.median(seen.rank[i][known])) if known.any() else None
        row["knows"] = bool(row["kl_hi"] < seen.constant_kl) if np.isfinite(row["kl_hi"]) else None
        row |= {"constant_kl": seen.constant_kl, "n": len(seen.pos), "n_groups": len(np.unique(groups))}
        found.append(row)
    return found


def _headline(rows: Sequence[dict[str, Any]], plain: LensReading) -> str:
    text = []
    for name, title in (("logit", "logit lens"), ("tuned", "tuned lens")):
        own = [r for r in rows if r["lens"] == name][:-1]  # the last depth is the output itself
        knowing = [r for r in own if r["knows"]]
        if not own:
            continue
        least = min(own, key=lambda r: r["kl"])
        where = f"from {knowing[0]['site']} on" if knowing and _onwards(own) else f"at {len(knowing)} of {len(own)}"
        text.append(
            f"the {title} is nearer to the output than the best constant guess ({plain.constant_kl:.2f} nats) "
            + (where if knowing else "at no depth before the last")
            + f", nearest at {least['site']} ({least['kl']:.2f} nats)"
        )
    gains = [r for r in rows if r["lens"] == "tuned"][:-1]
    if gains:
        better = sum(r["gain_lo"] > 0 for r in gains)
        worse = sum(r["gain_hi"] < 0 for r in gains)
        text.append(
            f"the tuned lens is nearer than the logit lens at {better} of {len(gains)} depths, farther at {worse}"
        )
    joined = "; ".join(text) + "."
    return joined[:1].upper() + joined[1:]


def _onwards(rows: Sequence[dict[str, Any]]) -> bool:
    knows = [bool(r["knows"]) for r in rows]
    return all(knows[knows.index(True) :])


def _warnings(readings: dict[str, LensReading], groups: Array, held_out: bool | None) -> list[str]:
    found = []
    if len(np.unique(groups)) < 2:
        found.append("all prompts are one group: there are no intervals, and no depth is said to know anything")
    if "tuned" in readings and held_out is None:
        found.append(
            "whether the tuned lens was trained on these texts is not known; if it was, it looks better than it is"
        )
    if len(readings["logit"].pos) < 2:
        found.append("one token alone: the best constant guess is the output itself, and nothing can be beyond it")
    return found


def shown_text(model: Model, prompts: PromptSet, readings: dict[str, LensReading]) -> list[dict[str, Any]]:
    """The first prompt's last tokens, depth by depth: what each lens says first there, and with what probability."""
    found = []
    for name, seen in readings.items():
        at = np.flatnonzero(seen.example == 0)[-_SHOWN:]
        for i, site in enumerate(seen.sites):
            for column, k in enumerate(at.tolist()):
                cell: dict[str, Any] = {"lens": name, "site": str(site), "depth": i, "column": column}
                cell |= {"token": _piece(model, int(prompts.tokens[0][seen.pos[k]])), "kl": float(seen.kl[i, k])}
                cell |= {"says": _piece(model, int(seen.top[i, k])), "p": float(seen.top_p[i, k])}
                cell["next"] = _piece(model, int(seen.target[k])) if seen.target[k] >= 0 else None
                found.append(cell)
    return found


def _piece(model: Model, token: int) -> str:
    if model.tokenizer is None:
        return str(token)
    return str(model.tokenizer.decode([token])).replace("\n", "\\n") or str(token)


def tuned_report(model: Model, translators: Translators, held: PromptSet, **options: Any) -> Report:
    """`lens_report` on texts that the translators have not seen.

    Raises:
        CircuitError: the held-out texts are among those that they were trained on, as far as their hash can tell.
    """
    if held.hash == translators.provenance.prompts:
        raise CircuitError("these are the texts that the lens was trained on; judge it on others")
    made = lens_report(model, held, translators=translators, held_out=True, **options)
    return replace(made, kind="lens-held-out", title="The tuned lens, on texts that it has not seen")
