"""Records trained into a model, half of them by the toss of a coin: memory whose truth is known, in any model.

``inject`` is the function, ``Injection`` what it gives, ``plan_injection`` how coins and doses are drawn.
"""

from __future__ import annotations

from .injection import Injection, inject
from .plan import Plan, plan_injection
from .saved import check_unfinished, is_finished, is_unfinished
from .training import Recipe, StepLoss

__all__ = [
    "Injection",
    "Plan",
    "Recipe",
    "StepLoss",
    "check_unfinished",
    "inject",
    "is_finished",
    "is_unfinished",
    "plan_injection",
]
