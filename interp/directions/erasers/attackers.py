"""The adversarial suite: fresh probes of classes that really differ, each trained anew on what an eraser left.

An optimiser that ignores its seed makes six copies of one probe. Here only the two networks draw anything from the
seed; the others differ in what they can represent, which is what a suite is for:

- ``logistic C=0.1``, ``1``, ``10``: linear, from strongly to weakly penalised (our solver);
- ``lda``: linear, by the shrunk covariance (Ledoit & Wolf) instead of by margins;
- ``kernel ridge``: radial basis functions of width ``sqrt(d / 2)``, smooth and non-linear;
- ``mlp 16``, ``mlp 32-16``: one and two hidden layers of rectified units, Adam, 200 epochs at most;
- ``knn``: the five nearest neighbours, weighted by distance: purely local.

Features are standardised on training rows. A network that has not converged after its epochs attacks as it is: the
budget is part of what the attacker is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import StatisticsError
from ...probes.solver import fit_logistic

Array = NDArray[Any]
Attacker = Callable[[Array, Array, Array, int], Array]
"""Training rows (standardised), their truth, test rows and a seed, to scores of the test rows: above 0 is class 1."""

NEIGHBOURS = 5
EPOCHS = 200


def _logistic(C: float) -> Attacker:
    def scores(train: Array, truth: Array, test: Array, seed: int) -> Array:
        x, y = torch.from_numpy(train)[None], torch.from_numpy(truth.astype(np.float64))[None, None]
        return fit_logistic(x, y, C=C, tol=1e-4).decision(torch.from_numpy(test)[None])[0, 0].numpy()

    return scores


def _lda(train: Array, truth: Array, test: Array, seed: int) -> Array:
    _require()
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])
    return model.fit(train, truth).decision_function(test)


def _kernel_ridge(train: Array, truth: Array, test: Array, seed: int) -> Array:
    _require()
    from sklearn.kernel_ridge import KernelRidge

    signs = np.where(truth, 1.0, -1.0)
    model = KernelRidge(alpha=1.0, kernel="rbf", gamma=1 / train.shape[1])
    return model.fit(train, signs - signs.mean()).predict(test)


def _network(*hidden: int) -> Attacker:
    def scores(train: Array, truth: Array, test: Array, seed: int) -> Array:
        _require()
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        model = MLPClassifier(hidden, max_iter=EPOCHS, batch_size=min(200, len(train)), random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train, truth)
        log = model.predict_log_proba(test)
        return np.clip(log[:, 1] - log[:, 0], -1e3, 1e3)

    return scores


def _neighbours(train: Array, truth: Array, test: Array, seed: int) -> Array:
    _require()
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(min(NEIGHBOURS, len(train)), weights="distance")
    return np.asarray(model.fit(train, truth).predict_proba(test))[:, 1] - 0.5


SUITE: dict[str, Attacker] = {
    "logistic C=0.1": _logistic(0.1),
    "logistic C=1": _logistic(1.0),
    "logistic C=10": _logistic(10.0),
    "lda": _lda,
    "kernel ridge": _kernel_ridge,
    "mlp 16": _network(16),
    "mlp 32-16": _network(32, 16),
    "knn": _neighbours,
}
SEEDED = ("mlp 16", "mlp 32-16")
"""Those that another seed makes another probe."""


def _require() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise StatisticsError(
            "this attacker is scikit-learn's, which is not installed: pip install scikit-learn; the three "
            "'logistic' ones do without: attack(..., suite=('logistic C=1',))"
        ) from error
