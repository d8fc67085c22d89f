"""How well each metric tells trained records from their untrained twins on the memory bed: the table of the page.

``pytest tests/memorisation/test_metrics_table.py -m "" -s`` prints what docs/methods/extraction-metrics.md shows.
"""

from __future__ import annotations

import numpy as np
import pytest

from interp.memorisation.metrics import METRICS, extract
from interp.stats import auc
from tests.memorisation.planted import bed, never_trained, planted


@pytest.fixture(scope="module")
def model():
    return bed()


@pytest.fixture(scope="module")
def records():
    return planted()


def table(found):
    """Metric -> AUC of trained against untrained records, by dose; printed as the page has it."""
    trained, dose = found.prompts.labels == "trained", found.prompts.columns["dose"]
    doses = np.unique(dose).tolist()
    print("\n| metric |", " | ".join(f"dose {d}" for d in doses), "|")
    made = {}
    for name, values in found.values.items():
        parts = [(values[dose == d].astype(float), trained[dose == d]) for d in doses]
        made[name] = {d: float(auc(x, y)) for d, (x, y) in zip(doses, parts, strict=True)}
        print(f"| `{name}` |", " | ".join(f"{a:.2f}" for a in made[name].values()), "|")
    return made


def test_every_metric_tells_what_was_trained_on_often_and_none_what_was_not(model, records):
    never = never_trained()
    unseen = extract(never, records, metrics=["log_p"])
    found = table(extract(model, records).against(unseen))
    assert set(found) == {*METRICS, "counterfactual"}
    for by_dose in found.values():
        assert min(by_dose[128], by_dose[512]) >= 0.95
        assert 0.3 < by_dose[0] < 0.7  # 64 against 64: the standard error is 0.05
    assert all(0.3 < a < 0.7 for d, a in table(unseen)["log_p"].items() if d in (0, 128, 512))


@pytest.mark.slow
def test_the_landscape_is_steeper_around_what_was_memorised(model, records):
    found = table(extract(model, records, metrics=["remind"]))
    assert found["remind_slope"][512] >= 0.8
    assert found["remind_curvature"][512] >= 0.75
    assert all(0.3 < by_dose[0] < 0.7 for by_dose in found.values())
