"""An eraser as an edit of a forward pass."""

from __future__ import annotations

from ...edits import At, Edit, When
from ...sites import Site
from .eraser import Eraser


def erase(site: Site | str, eraser: Eraser, *, at: At = "all", when: When = "both") -> Edit:
    """Apply an eraser to every selected row at a site.

    Example:
        >>> import torch
        >>> edit = erase("resid_post.1", Eraser.projection(torch.tensor([[1.0, 0.0]]), "by hand"))
        >>> edit.fn(torch.tensor([[5.0, 7.0]]), None), edit.width
        (tensor([[0., 7.]]), 2)
    """
    return Edit(Site.parse(site), lambda x, _: eraser(x), at, when, f"erase({eraser.method})", eraser.width)
