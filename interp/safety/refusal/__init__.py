"""Beliefs about harm and refusal: where each can be read, which of the two moves what, and what a guard makes of it."""

from __future__ import annotations
