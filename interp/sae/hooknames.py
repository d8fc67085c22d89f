"""Hook names of TransformerLens and its bridge, as sae-lens writes them into ``cfg.json``, and our sites."""

from __future__ import annotations

import re

from ..errors import SaeError
from ..sites import Site

# Behind "blocks.N." -> our kind. The first of a kind is what we write.
_BLOCK = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "hook_mlp_out": "mlp_out",
    "attn.hook_q": "q",
    "attn.hook_k": "k",
    "attn.hook_v": "v",
    "attn.hook_z": "z",
    "mlp.hook_in": "mlp_in",
    "mlp.hook_pre": "mlp_pre",
    "mlp.hook_post": "mlp_post",
    "hook_in": "resid_pre",
    "hook_out": "resid_post",
    "attn.hook_out": "attn_out",
    "attn.q.hook_out": "q",
    "attn.k.hook_out": "k",
    "attn.v.hook_out": "v",
    "attn.o.hook_in": "z",
    "mlp.hook_out": "mlp_out",
    "mlp.out.hook_in": "mlp_post",
}
BEHIND_BRANCH = ("attn.hook_out", "mlp.hook_out")
"""Bridge names of what a branch itself gives, which is another tensor than what it adds where a norm stands behind."""

_UNCLEAR = {
    "ln2.hook_normalized": "the norm's output before its weights in some models and after them in others",
    "hook_mlp_in": "the stream before the MLP's norm for TransformerLens, and what the MLP reads for some releases",
}


def site_of(hook: str, head: int | None = None) -> Site:
    """The site of a hook name; ``head`` as in ``hook_head_index``.

    Raises:
        SaeError: the hook has no site here, or its name means different tensors in different releases.

    >>> site_of("blocks.10.hook_resid_post"), site_of("blocks.2.attn.hook_z", 3), site_of("blocks.0.hook_in")
    (Site('resid_post.10'), Site('z.2.h3'), Site('resid_pre.0'))
    """
    if hook in ("hook_embed", "embed.hook_out"):
        return Site("embed")
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", hook)
    tail = match[2] if match else hook
    if match and tail in _UNCLEAR:
        layer = match[1]
        raise SaeError(
            f"hook {hook!r} is {_UNCLEAR[tail]}; say which it is, with reads='mlp_in.{layer}' (what the MLP reads, "
            f"norm weights and all) or reads='resid_mid.{layer}' (the stream before the norm)"
        )
    if match is None or tail not in _BLOCK:
        known = ", ".join(f"blocks.N.{name}" for name in _BLOCK)
        raise SaeError(f"hook {hook!r} has no site here; hooks that have one: hook_embed, {known}")
    return Site(_BLOCK[tail], int(match[1]), head)


def hook_of(site: Site) -> str:
    """The hook name of a site, as TransformerLens and sae-lens write it.

    Raises:
        SaeError: sae-lens has no name for it.

    >>> hook_of(Site.parse("resid_post.2")), hook_of(Site.parse("z.5"))
    ('blocks.2.hook_resid_post', 'blocks.5.attn.hook_z')
    """
    if site.kind == "embed":
        return "hook_embed"
    for tail, kind in _BLOCK.items():
        if kind == site.kind:
            return f"blocks.{site.layer}.{tail}"
    raise SaeError(f"sae-lens has no hook name for site {site}")
