"""What reports on steering and ablation say in a sentence, and what they warn of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
HINT = "beyond random at this coefficient alone"


def steering_headline(rows: Sequence[Row], meta: Row) -> str:
    """The strongest effect that is beyond random directions and cheap; or what there is instead."""
    moved = [row for row in rows if row["coeff"]]
    name, base = meta["metric"], next(row for row in rows if not row["coeff"])
    good = [row for row in moved if row["verdict"] == "beyond random"]
    dear = [row for row in moved if row["verdict"] == "beyond random, at a price"]
    hints = [row for row in moved if row["verdict"] == HINT]
    if hints and not good and not dear:
        row = min(hints, key=lambda row: row["p_max"])
        return (
            f"At most a hint: at coefficient {row['coeff']:g} the {name} changes by "
            f"{_value(row, 'effect', sign=True)}, more than {meta['n_random']} random directions do there "
            f"(p = {row['p']:.2g}), but one of {len(moved)} coefficients stands out as much by chance "
            f"(p = {row['p_max']:.2g}); use more random directions."
        )
    if not good and not dear:
        best = max(moved, key=lambda row: abs(row["effect"]))
        if meta["min_p"] > meta["alpha"]:
            why = f"{meta['n_random']} random directions are too few to tell (p cannot be below {meta['min_p']:.2g})"
        else:
            why = _why_not(moved, meta)
        return (
            f"No effect beyond random directions: at coefficient {best['coeff']:g} the {name} changes by "
            f"{_value(best, 'effect', sign=True)}, and {why}."
        )
    row = max(good or dear, key=lambda row: abs(row["effect"]))
    text = (
        f"At coefficient {row['coeff']:g} the {name} goes from {base['score']:.3g} to {_value(row, 'score')}, "
        f"beyond {meta['n_random']} random directions (p = {row['p_max']:.2g})"
    )
    if row.get("kl") is None:
        return f"{text}; side effects were not measured."
    price = f"{row['kl']:.2g} nats per token of KL on neutral text"
    return f"{text}, at {price}." if good else f"{text}, but at {price}, which no cheaper coefficient avoids."


def steering_warnings(rows: Sequence[Row], meta: Row) -> list[str]:
    """Effects that random directions have too, side effects that dominate, tests that cannot tell."""
    moved = [row for row in rows if row["coeff"]]
    found = few_random(meta)
    idle = [row for row in moved if row["verdict"] == "not beyond random"]
    if idle and meta["min_p"] <= meta["alpha"]:
        which = ", ".join(f"{row['coeff']:g}" for row in idle)
        found.append(
            f"At coefficient{'s' * (len(idle) > 1)} {which} the effect is not beyond that of random directions of the "
            "same length: it says nothing about this direction."
        )
    found += dear_warning([(f"coefficient {row['coeff']:g}", row) for row in moved], meta)
    if not meta["neutral"]:
        found.append("No neutral text was given, so what steering costs elsewhere is not known.")
    met = meta.get("condition_met")
    if met is not None and not 0 < met < 1:
        found.append(
            "Every prompt meets the condition, so nothing here shows whom it leaves alone."
            if met
            else "No prompt meets the condition, so none was steered."
        )
    let_in = meta.get("condition_met_neutral")
    if let_in:
        found.append(f"{100 * let_in:.0f} % of the neutral texts meet the condition, and are steered, too.")
    return found


def few_random(meta: Row) -> list[str]:
    """A warning where there are too few controls, or prompts, for a small p-value."""
    found = []
    if meta["min_p"] > meta["alpha"]:
        found.append(
            f"{meta['n_random']} controls allow no p below {meta['min_p']:.2g}; {_needed(meta['alpha'])} are needed "
            "before an effect can be called beyond them."
        )
    if meta["min_p_prompts"] > meta["alpha"]:
        found.append(
            f"{meta['groups']} prompts or groups of them allow no p over prompts below {meta['min_p_prompts']:.2g}; "
            "give more."
        )
    return found


def dear_warning(named: Sequence[tuple[str, Row]], meta: Row) -> list[str]:
    """A warning where side effects dominate: KL on neutral text over the limit."""
    dear = [(name, row["kl"]) for name, row in named if row.get("kl") is not None and row["kl"] > meta["kl_limit"]]
    if not dear:
        return []
    which = ", ".join(f"{name} ({kl:.2g})" for name, kl in dear)
    return [
        f"Side effects dominate at {which}: KL on neutral text is over {meta['kl_limit']:g} nats per token, so what "
        "the metric shows there may be damage."
    ]


def ablation_headline(rows: Sequence[Row], meta: Row) -> str:
    """What removing something did, beside controls and side effects."""
    base, row = rows[0], rows[1]
    text = (
        f"Ablating {meta['what']} takes the {meta['metric']} from {base['score']:.3g} to {_value(row, 'score')} "
        f"(change {row['effect']:+.3g})"
    )
    if meta["n_random"]:
        if row["verdict"] == "not beyond controls":
            why = f"p = {row['p']:.2g}" if meta["min_p"] <= meta["alpha"] else "too few of them to tell"
            text += f", which is not beyond {meta['n_random']} controls ({why})"
        else:
            text += f", beyond {meta['n_random']} controls (p = {row['p']:.2g})"
    else:
        text += "; there is nothing to compare it with"
    return text + (f", at {row['kl']:.2g} nats per token of KL on neutral text." if "kl" in row else ".")


def ablation_warnings(rows: Sequence[Row], meta: Row) -> list[str]:
    """As `steering_warnings`."""
    found = few_random(meta) if meta["n_random"] else [meta["no_control"]]
    row = rows[1]
    if meta["n_random"] and meta["min_p"] <= meta["alpha"] and row["verdict"] == "not beyond controls":
        found.append(f"The effect is not beyond that of {meta['controls']}: it says nothing about what was ablated.")
    found += dear_warning([("this ablation", row)], meta)
    if not meta["neutral"]:
        found.append("No neutral text was given, so what the ablation costs elsewhere is not known.")
    return found


def _why_not(moved: Sequence[Row], meta: Row) -> str:
    least = min(moved, key=lambda row: row["p_max"])
    if least["p_max"] > meta["alpha"]:
        return f"random directions of the same length do as much (p = {least['p_max']:.2g})"
    return f"over prompts it does not differ from theirs (p = {least['p_prompts']:.2g})"


def _needed(alpha: float) -> int:
    """The least number of controls that allows a p of alpha."""
    count = 1
    while 1 / (1 + count) > alpha + 1e-12:
        count += 1
    return count


def _value(row: Row, name: str, sign: bool = False) -> str:
    style = "+.3g" if sign else ".3g"
    text = format(row[name], style)
    low, high = row.get(f"{name}_lo"), row.get(f"{name}_hi")
    return text if low is None or high is None else f"{text} [{format(low, style)}, {format(high, style)}]"
