"""Does unlearning refusal in one domain spread to those that a model represents alike?"""

from __future__ import annotations
