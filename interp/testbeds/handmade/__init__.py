"""`or_gate`, `and_gate`, `fraction`: small circuits written by hand, with every edge's truth and its reason.

All are GPT-2 checkpoints without training: LayerNorm is made the identity, as in `induction`, and MLPs use ReLU.
"""
