"""``load_sae``: a directory that sae-lens wrote, checked against a model; ``wrap_sae``: a sae-lens object at hand."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ProvenanceError, SaeError
from ..provenance import Provenance
from ..sites import Site
from .hooknames import BEHIND_BRANCH, hook_of, site_of
from .latents import Sae
from .library import library, others_warnings

if TYPE_CHECKING:
    from ..models import Model

CFG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
ARCHITECTURES = (
    "standard", "gated", "topk", "abstopk", "jumprelu", "transcoder", "skip_transcoder", "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
)  # fmt: skip
"""What is supported: one row of activations at a time, with a linear decoder."""

_NORMS = {
    "expected_average_only_in": "fold its factor in (sae.fold_activation_norm_scaling_factor) and save it again",
    "covariance_whitening": "fold the whitening in (sae.fold_activation_whitening) and save it again",
    "layer_norm": "every row has a scale of its own, so that latents do not add up; use one trained without",
    "constant_norm_rescale": "every row has a scale of its own, so that latents do not add up; use one trained without",
}
_OURS = "interp"


def load_sae(
    path: str | os.PathLike[str],
    model: Model,
    *,
    site: Site | str | None = None,
    reads: Site | str | None = None,
) -> Sae:
    """Read an SAE or transcoder in sae-lens' format (``cfg.json`` and ``sae_weights.safetensors``) for this model.

    The site comes from the hook name in the file; ``site`` and ``reads`` say it where the file does not, or where a
    hook name means different tensors in different releases.

    Raises:
        SaeError: sae-lens is missing, the files are missing or damaged, the hook has no site, a width does not fit
            the model, or rows are normalised in a way that latents do not add up under.
        ProvenanceError: it was trained on other weights, as its files say.

    Warns:
        UserWarning: the files do not say which weights it was trained on.

    >>> import interp, tempfile
    >>> from interp.sae import save_sae, train_sae
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> acts = interp.capture(model, interp.PromptSet.from_tokens([[5, 9, 7, 5]] * 20), "resid_post.0")
    >>> trained = train_sae(acts, "resid_post.0", n_latents=8, k=2, steps=2, batch=8, progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = save_sae(trained.sae, folder)
    ...     load_sae(folder, model).site
    Site('resid_post.0')
    """
    lens, folder = library(), Path(path)
    cfg = _config(folder)
    _check_config(cfg, folder)
    try:
        with others_warnings():
            net = lens.SAE.load_from_disk(folder, device=str(model.device))
    except Exception as error:
        raise SaeError(f"cannot read the SAE in {os.fspath(path)!r}: {type(error).__name__}: {error}") from error
    return wrap_sae(net, model, site=site, reads=reads, name=os.fspath(path))


def wrap_sae(
    net: Any,
    model: Model,
    *,
    site: Site | str | None = None,
    reads: Site | str | None = None,
    made: Provenance | None = None,
    name: str = "this SAE",
) -> Sae:
    """A sae-lens object as a value for this model; its parameters are frozen. ``made`` if its metadata lack it.

    Raises:
        SaeError, ProvenanceError: as for `load_sae`.
    """
    _check_config(net.cfg.to_dict(), name)
    about = net.cfg.metadata
    made = _provenance(about.get(_OURS), name) or made
    writes_at, reads_at = _sites(net, model, site, reads, name)
    net = net.to(device=model.device).eval().requires_grad_(False)
    if net.hook_z_reshaping_mode:
        net.turn_off_forward_pass_hook_z_reshaping()  # our z is flat already
    sae = Sae(writes_at, reads_at, net, fingerprint_of(net), made)
    _check_linear(sae, name)
    sae.check(model)
    if made is None:
        known = f"it names {about.model_name!r}, " if about.model_name else ""
        kwargs = about.model_from_pretrained_kwargs
        warnings.warn(
            f"{name} does not say which weights it was trained on ({known}and this is {model.id!r}"
            + (f"; it was loaded with {kwargs}" if kwargs else "")
            + "); measure how well it reconstructs before relying on it (interp.sae.reconstruction)",
            UserWarning,
            stacklevel=2,
        )
    return sae


def save_sae(sae: Sae, path: str | os.PathLike[str]) -> Path:
    """Write it as sae-lens does, with where it came from in the metadata; the folder.

    Raises:
        SaeError: the folder cannot be written.
    """
    folder = Path(path)
    if sae.made is not None:
        sae.net.cfg.metadata[_OURS] = {"provenance": sae.made.to_dict()}
    try:
        sae.net.save_model(folder)
    except OSError as error:
        raise SaeError(f"cannot write the SAE to {os.fspath(path)!r}: {error.strerror or error}") from error
    return folder


def fingerprint_of(net: Any) -> str:
    """Hash of the weights."""
    import xxhash

    digest = xxhash.xxh3_128(net.cfg.architecture().encode())
    for name, tensor in sorted(net.state_dict().items()):
        data = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(data.view(torch.uint8).numpy() if data.numel() else b"")
    return digest.hexdigest()


def _config(folder: Path) -> dict[str, Any]:
    for name in (CFG, WEIGHTS):
        if not (folder / name).is_file():
            raise SaeError(f"{os.fspath(folder)!r} holds no {name}; a directory in sae-lens' format has both files")
    try:
        found = json.loads((folder / CFG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SaeError(f"cannot read {os.fspath(folder / CFG)!r}: {error}") from error
    if not isinstance(found, dict):
        raise SaeError(f"{os.fspath(folder / CFG)!r} is no configuration: it holds a {type(found).__name__}")
    return found


def _check_config(cfg: dict[str, Any], name: Any) -> None:
    architecture = cfg.get("architecture", "standard")
    if architecture not in ARCHITECTURES:
        raise SaeError(f"{name} is a {architecture!r}; supported are {', '.join(ARCHITECTURES)}")
    norm = cfg.get("normalize_activations") or "none"
    if norm is True or norm in _NORMS:
        norm = "expected_average_only_in" if norm is True else norm
        raise SaeError(
            f"{name} normalises activations by {norm!r}, which is not folded into its weights: {_NORMS[norm]}"
        )
    if norm != "none":
        raise SaeError(f"{name} normalises activations by {norm!r}, which is not supported; use one trained without")


def _provenance(stored: Any, name: str) -> Provenance | None:
    if stored is None:
        return None
    try:
        return Provenance.from_dict(stored["provenance"])
    except (KeyError, TypeError, AttributeError, ProvenanceError) as error:
        raise SaeError(f"the metadata of {name} are damaged: {error!r}") from error


def _sites(net: Any, model: Model, site: Site | str | None, reads: Site | str | None, name: str) -> tuple[Site, Site]:
    """Where it writes and reads: as told, else by its hook names."""
    about = net.cfg.metadata
    two = "transcoder" in net.cfg.architecture()
    reads_at = None if reads is None else Site.parse(reads)
    writes_at = None if site is None else Site.parse(site)
    if not two and reads_at is not None and writes_at is not None and reads_at != writes_at:
        raise SaeError(f"{name} is no transcoder: it reads and writes at one site, not {reads_at} and {writes_at}")
    if not two:
        writes_at = writes_at or reads_at or _named(about.hook_name, about.hook_head_index, model, name, "site")
        return writes_at, writes_at
    reads_at = reads_at or _named(about.hook_name, about.hook_head_index, model, name, "reads")
    writes_at = writes_at or _named(about.hook_name_out, about.hook_head_index_out, model, name, "site")
    return writes_at, reads_at


def _named(hook: str | None, head: int | None, model: Model, name: str, option: str) -> Site:
    if not hook:
        raise SaeError(f"{name} does not say at which hook it belongs; give {option}='resid_post.2' or the like")
    site = site_of(hook, head)
    # A norm behind the branch is what adds to the stream then, and the site is behind it.
    if hook.endswith(BEHIND_BRANCH) and "norm" in type(model.resolve(site).module).__name__.lower():
        raise SaeError(
            f"hook {hook!r} is what the branch gives before the norm that stands behind it in {model.id!r}, and "
            f"{hook_of(site)!r} ({site}) is after it; there is no site for the first"
        )
    return site


@torch.no_grad()
def _check_linear(sae: Sae, name: str) -> None:
    """Latents must write linearly, as `Sae.decode` has it."""
    generator = torch.Generator().manual_seed(0)
    some = torch.zeros(2, sae.n_latents)
    some[0, torch.randint(sae.n_latents, (min(4, sae.n_latents),), generator=generator)] = 1.7
    some = some.to(sae.decoder)
    want, got = sae.net.decode(some), sae.decode(some)
    if not torch.allclose(want, got, rtol=1e-3, atol=1e-4 * float(want.abs().max().clamp(min=1))):
        raise SaeError(f"the decoder of {name} is not linear in its latents, so that they do not add up")
