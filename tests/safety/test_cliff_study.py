"""The study on a model by hand: a planted cliff is found, its head first; where nothing falls, nothing is called."""

from __future__ import annotations

import numpy as np
import pytest

from interp.errors import PromptError, SplitError
from interp.plots import figure
from interp.prompts import PromptSet
from interp.safety.cliff.kinds import SUSPECT, kinds_of
from interp.safety.cliff.settings import Settings
from interp.safety.cliff.study import cliff
from interp.safety.cliff.thinking import Thoughts
from tests.safety import thinking_by_hand as by_hand

FEW = Settings(percent=(3.0,), draws=20, permutations=99, bootstrap=200)


def study(model, thoughts, settings=FEW, **options):
    return cliff(model, thoughts, settings, refusals=[by_hand.REFUSE], progress=False, **options).reports


@pytest.fixture(scope="module")
def planted():
    return study(by_hand.model("end"), by_hand.thoughts(40, template=2))


def test_the_planted_cliff_is_found(planted):
    report = planted["cliff"]
    assert report.meta["found"], report.headline
    assert report.headline.startswith("A cliff: on 40 harmful prompts")
    assert report.meta["beyond_lo"] > 0.4
    assert report.meta["prober_auc_lo"] > 0.9
    rows = {row["class"]: row for row in report.rows}
    assert rows["harmful, answered"]["drop_lo"] > 0.4
    assert rows["harmful, refused"]["drop_hi"] < 0.1
    assert rows["harmless, answered"]["drop_hi"] < 0.2


def test_the_trajectory_counts_only_tokens_that_are_there(planted):
    path = [row for row in planted["cliff"].meta["trajectory"] if row["class"] == "harmful, answered"]
    lengths = by_hand.thoughts(40, template=2).prompts
    thinking = np.diff(lengths.spans["thinking"], axis=1)[:, 0]
    suspects = np.array([name.startswith("T") for name in lengths.ids])
    for row in path:
        back = -row["place"]
        assert row["n"] == int((thinking[suspects] + 3 > back).sum())
    early = [row["score"] for row in path if row["n"] < 40]
    assert min(early) > 0.7  # a mean over zeros that pad would fall towards the front


def test_the_planted_head_comes_first_and_without_it_the_model_refuses_again(planted):
    heads = planted["cliff-heads"]
    layer, head = by_hand.SUPPRESSOR
    assert heads.rows[0]["part"] == f"z.{layer}.h{head}"
    assert heads.rows[0]["p_max"] < 0.05
    assert heads.rows[1]["p_max"] > 0.05
    assert heads.meta["sum_error"] < 1e-5
    row = planted["cliff-ablation"].rows[0]
    assert row["which"] == [f"z.{layer}.h{head}"]
    assert (row["refused_before"], row["refused_after"], row["others_after"]) == (0.0, 1.0, 0.0)
    assert row["random_refused"] == 0.0
    assert row["random_hi"] < 0.1 < row["effect_lo"]
    assert row["exact"]  # each of the seven other heads
    assert "too few for a p below 0.12" in planted["cliff-ablation"].headline


def test_the_judge_selects_what_falls(planted):
    judge = planted["cliff-judge"]
    assert len(judge) == 80
    assert [row["selected"] for row in judge.rows[:3]] == [True, True, False]
    assert not any(row["refused"] for row in judge.rows[:40])


@pytest.mark.parametrize("offset", [0.0, 0.4])
def test_a_model_that_never_means_to_refuse_has_no_cliff(offset):
    """Not even where every score falls from the thinking to the answer, whatever is asked."""
    report = study(by_hand.model("everywhere", offset), by_hand.thoughts(30))["cliff"]
    assert not report.meta["found"], report.headline
    assert report.headline.startswith("No cliff")


def test_a_prober_that_may_read_harm_sees_cliffs_that_the_strict_one_does_not():
    """The model says in its thinking that a request is harmful, more than at its end, and never means to refuse it."""
    report = study(by_hand.model("everywhere", harm=4.0), by_hand.thoughts(40))["cliff"]
    assert report.meta["falls"]
    assert report.meta["beyond_lo"] > 0.1
    assert report.meta["strict_p"] > 0.05
    assert not report.meta["found"]
    assert "a prober that cannot have learned to read harm sees no refusal in their thinking" in report.headline
    both = study(by_hand.model("end", harm=4.0), by_hand.thoughts(40))["cliff"]
    assert both.meta["found"], both.headline


def test_where_nothing_is_refused_there_is_nothing_to_fall():
    reports = cliff(by_hand.model("end"), by_hand.thoughts(10), FEW, refusals=[by_hand.PLAIN], progress=False).reports
    assert list(reports) == ["cliff"]
    assert reports["cliff"].headline.startswith("No refusal was found that could fall: no harmful prompts are refused")
    assert figure(reports["cliff"]).layout.annotations[-1].text == "no prober of refusal, no trajectory"


def test_where_every_harmful_prompt_is_refused_no_refusal_is_lost():
    reports = study(by_hand.model("nowhere"), by_hand.thoughts(20))
    assert "no refusal is lost on the way" in reports["cliff"].headline
    assert "cliff-heads" not in reports


def test_labels_without_meaning_are_no_refusal():
    """The file says at random what is refused: the prober fails on groups that it has not seen."""
    called = 0
    for seed in range(6):
        thoughts = by_hand.thoughts(20, seed)
        rng = np.random.default_rng(seed)
        prompts = thoughts.prompts
        refused = (prompts.columns["harmful"] == 1) & (rng.random(len(prompts)) < 0.5)
        harmful = rng.permutation(prompts.columns["harmful"])
        told = prompts.with_columns(refused=(refused & (harmful == 1)).astype(int), harmful=harmful)
        report = cliff(by_hand.model("nowhere"), Thoughts(told), FEW, progress=False).reports["cliff"]
        called += report.meta["found"]
    assert called <= 1


def test_halves_keep_groups_whole_and_follow_the_file():
    model, thoughts = by_hand.model("end"), by_hand.thoughts(12)
    kinds = kinds_of(model, thoughts.prompts, [by_hand.REFUSE])
    assert kinds.of(SUSPECT).sum() == 12
    for group in np.unique(kinds.groups):
        assert len(np.unique(kinds.fits[kinds.groups == group])) == 1
    assert abs(int(kinds.fits.sum()) - 24) <= 4
    split = ["train" if i % 4 < 2 else "test" for i in range(48)]
    told = thoughts.prompts.with_columns(split=split)
    assert (kinds_of(model, told, [by_hand.REFUSE]).fits == (np.array(split) == "train")).all()
    torn = thoughts.prompts.with_columns(split=["train", "test"] * 24)
    with pytest.raises(SplitError, match="lies in several splits"):
        kinds_of(model, torn, [by_hand.REFUSE])


def test_what_the_file_says_counts_and_disagreement_is_told():
    thoughts = by_hand.thoughts(12)
    wrong = thoughts.prompts.with_columns(refused=[int(name.startswith("h")) for name in thoughts.prompts.ids])
    reports = study(by_hand.model("end"), Thoughts(wrong))
    assert any("what the file's column 'refused' says on only" in w for w in reports["cliff"].warnings)
    with pytest.raises(PromptError, match="it is 0 or 1"):
        kinds_of(by_hand.model("end"), thoughts.prompts.with_columns(refused=["maybe"] * 48), None)
    with pytest.raises(PromptError, match="no column 'harmful'"):
        kinds_of(by_hand.model("end"), PromptSet.from_tokens([[1]]), None)
    with pytest.raises(PromptError, match="nothing says which prompts are refused"):
        kinds_of(by_hand.model("end"), thoughts.prompts, None)
