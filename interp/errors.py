"""Every error that interp raises on purpose, in one tree.

::

    InterpError
    ├── SiteError            a site string that does not parse, or a coordinate the model lacks
    ├── PromptError          a prompt set that cannot be used as it is
    │   ├── EmptyPromptsError
    │   ├── PromptTooLongError
    │   └── TokenizerMissingError
    ├── ModelError           a model that cannot be loaded, resolved or trusted
    ├── HookError            a hook that fired the wrong number of times
    ├── EditError            an edit that does not fit its site, or that never fired
    ├── ActivationError      activations that cannot be used
    │   ├── NonFiniteError   NaN or infinity, with its site, example and position
    │   └── TooLargeError    a run that would not fit, with the sizes
    ├── StoreError           an activation store that cannot be read or written
    │   ├── StoreLockedError     another writer holds it
    │   ├── StoreCorruptError    a shard is bad, missing or foreign; names the file
    │   ├── StoreFullError       the disk is full; what was committed is safe
    │   └── StoreMismatchError   the store holds something else than was asked for
    ├── ProvenanceError      an artefact used with another model than it came from
    ├── SplitError           labels or groups that do not allow an honest split
    ├── StatisticsError      a statistic or fit that was asked for with impossible settings or numbers
    ├── ConvergenceError     a fit that missed its tolerance, with the number of such fits
    ├── ArtefactError        a saved direction or probe that cannot be read
    ├── ReportError          a report that cannot be read, drawn or written
    ├── CircuitError         a circuit, its pairs or its scores, that cannot be made or used as asked
    ├── SaeError             a sparse autoencoder that cannot be read, trained or used with this model
    ├── BedError             a test bed that does not exist, or cannot be made or read
    ├── InjectionError       records that cannot be trained into a model, or a training that went wrong
    └── BenchError           a benchmark that cannot be run, or peers that disagree

Each message names the offending value and, where there is one, the fix.
"""

from __future__ import annotations


class InterpError(Exception):
    """Base of everything that interp raises on purpose."""


class SiteError(InterpError):
    """A site string that does not parse, or a coordinate that the model lacks."""


class PromptError(InterpError):
    """A prompt set that cannot be used as it is."""


class EmptyPromptsError(PromptError):
    """There is nothing to run."""


class PromptTooLongError(PromptError):
    """A prompt is longer than the model's context."""


class TokenizerMissingError(PromptError):
    """Text was given, but the model has no tokenizer."""


class ModelError(InterpError):
    """A model that cannot be loaded, resolved or trusted."""


class HookError(InterpError):
    """A hook fired the wrong number of times."""


class EditError(InterpError):
    """An edit does not fit its site, or never fired."""


class ActivationError(InterpError):
    """Activations that cannot be used."""


class NonFiniteError(ActivationError):
    """NaN or infinity in activations; the message names site, example and position."""


class TooLargeError(ActivationError):
    """A run would not fit in memory or on disk; the message names the sizes."""


class StoreError(InterpError):
    """An activation store that cannot be read or written."""


class StoreLockedError(StoreError):
    """Another writer holds the store."""


class StoreCorruptError(StoreError):
    """A file of the store is bad, missing or foreign; the message names it."""


class StoreFullError(StoreError):
    """The disk is full. Everything that was committed is safe; the same command resumes."""


class StoreMismatchError(StoreError):
    """The store holds something else than what was asked for."""


class ProvenanceError(InterpError):
    """An artefact was used with a model that it does not come from."""


class SplitError(InterpError):
    """Labels or groups that do not allow an honest split."""


class StatisticsError(InterpError):
    """A statistic or fit was asked for with settings or numbers from which it cannot be made."""


class ConvergenceError(InterpError):
    """Some fits missed their tolerance; the message says how many."""


class ArtefactError(InterpError):
    """A saved direction or probe cannot be read; the message names the file."""


class ReportError(InterpError):
    """A report that cannot be read, drawn or written."""


class CircuitError(InterpError):
    """A circuit, its pairs of prompts or its scores cannot be made, or used, as asked."""


class SaeError(InterpError):
    """A sparse autoencoder or transcoder cannot be read, trained, or used with this model."""


class BedError(InterpError):
    """A test bed that does not exist, or that cannot be made or read."""


class InjectionError(InterpError):
    """Records cannot be trained into a model as asked, or the training went wrong."""


class BenchError(InterpError):
    """A benchmark cannot be run as asked, or a peer's rows differ from ours."""
