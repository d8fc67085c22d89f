"""Real requests on a real model that does not chat: it must be told so, and nothing may be made of it."""

from __future__ import annotations

import interp
from interp.safety import refusal_study

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def test_no_refusal_is_found_in_a_model_of_stories(shared):
    model = interp.load_model(shared / "models" / "stories260K")
    splits = shared / "prompts" / "refusal_direction" / "splits"
    found = refusal_study(
        model, harmful=str(splits / "harmful_train.json"), harmless=str(splits / "harmless_train.json"),
        overrefused=f"{shared / 'prompts' / 'xstest' / 'xstest_prompts.csv'}@label=safe", template=TEMPLATE, limit=48,
        permutations=99, bootstrap=100, doses=(1.0,), draws=1,
    )  # fmt: skip
    assert found.summary.headline.startswith(
        "No refusal found in 'stories260K': 0 of 48 plain harmful and 0 of 48 plain harmless requests are refused, so "
        "nothing here is about refusal; "
    )
    assert not any(row["holds"] for row in found.summary.rows), found.summary
    assert set(found.directions) == {"harm"}
    [plain] = [c for c in found.reports["beliefs"].meta["cells"] if c["mark"] == "t_inst"]
    # The two sets differ in their words, which the report says instead of calling it a belief.
    assert plain["bow_auc"] > 0.8
    assert plain["verdict"].startswith("not beyond")
