"""The linear probe: multinomial logistic regression on fixed features, its strength chosen on validation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from eotune.core.errors import InputError
from eotune.metrics.classification import classification_metrics
from eotune.metrics.embeddings import Embeddings

L2_GRID = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)

_MAX_ITERATIONS = 500  # a bound against data on which nothing converges; a point of the path takes 10 to 60
_HISTORY = 20
_GRADIENT_TOLERANCE = 2e-5  # largest entry, in coordinates in which the curvature is about 1
_CHANGE_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Probe:
    """A linear classifier on standardised features.

    Attributes:
        weight: ``(c, d)`` float32, for standardised features; rows of classes without training samples are 0.
        bias: ``(c,)`` float32; -inf for classes without training samples, which are therefore never predicted.
        mean: ``(d,)`` float32: mean of the training features.
        std: ``(d,)`` float32: their standard deviation; 1 where a feature is constant.
        l2: Strength of the penalty, see :func:`probe_path`.
    """

    weight: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    l2: float

    @property
    def absent(self) -> tuple[int, ...]:
        """Classes without training samples."""
        return tuple(np.flatnonzero(np.isneginf(self.bias)).tolist())

    def predict_logits(self, features: Embeddings) -> np.ndarray:
        """Return logits ``(n, c)`` float32 of features ``(n, d)``.

        Raises:
            InputError: The features are not a finite matrix of the width that the probe was fitted on.
        """
        matrix = _matrix(features, "features")
        if matrix.shape[1] != len(self.mean):
            raise InputError(f"the probe was fitted on {len(self.mean)} features a sample; got {matrix.shape[1]}")
        logits = ((matrix.cpu().numpy() - self.mean) / self.std) @ self.weight.T + self.bias
        return logits.astype(np.float32, copy=False)

    def predict_probabilities(self, features: Embeddings) -> np.ndarray:
        """Return probabilities ``(n, c)`` float32, each row of sum 1; see :meth:`predict_logits`."""
        logits = self.predict_logits(features)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def balanced(self, counts: Sequence[int] | np.ndarray) -> "Probe":
        """Return the class-balanced probe: the minimiser of the logit-adjusted loss on the same data.

        The logit-adjusted loss (Menon et al., arXiv 2007.07314, eq. 10, tau = 1) is the cross-entropy of
        ``logits + log(prior)``. The bias carries no penalty, so it takes up the prior: the minimiser has the same
        weights and the bias ``b - log(prior)``. Nothing needs to be fitted again.

        Args:
            counts: ``(c,)`` training samples of each class.

        Raises:
            InputError: There is not one positive count for each class that the probe knows.
        """
        sizes = np.asarray(counts, dtype=np.float64)
        known = np.isfinite(self.bias)
        if sizes.shape != self.bias.shape or not (np.isfinite(sizes[known]) & (sizes[known] > 0)).all():
            raise InputError(f"counts must hold a positive number for each of the {known.sum()} classes of the probe")
        bias = self.bias.copy()
        bias[known] -= np.log(sizes[known] / sizes[known].sum()).astype(np.float32)
        return replace(self, bias=bias)


def fit_probe(
    features: Embeddings,
    labels: Embeddings,
    n_classes: int,
    *,
    validation: tuple[Embeddings, Embeddings],
    l2_grid: Sequence[float] = L2_GRID,
    adjust: Sequence[int] | np.ndarray | None = None,
) -> Probe:
    """Fit a probe for each strength of the grid and keep the one with the highest macro F1 on validation.

    Equal macro F1 goes to the stronger penalty. There is no randomness. To have both the plain and the balanced probe,
    call :func:`probe_path` once and :func:`best_probe` twice.

    Args:
        features: ``(n, d)``.
        labels: ``(n,)`` integers from 0 to ``n_classes - 1``; classes without samples are allowed.
        n_classes: c.
        validation: Features ``(m, d)`` and labels ``(m,)``.
        l2_grid: Strengths, see :func:`probe_path`.
        adjust: ``(c,)`` training samples of each class: fit the logit-adjusted loss (see :meth:`Probe.balanced`), for
            tests on which classes are, or count, alike. None: the plain loss.

    Raises:
        InputError: As :func:`probe_path` and :func:`best_probe`.

    Example:
        >>> features, labels = np.array([[0.0], [0.1], [0.9], [1.0]]), np.array([0, 0, 1, 1])
        >>> probe = fit_probe(features, labels, 2, validation=(features, labels))
        >>> probe.predict_logits(np.array([[0.2], [0.8]])).argmax(axis=1).tolist()
        [0, 1]
    """
    return best_probe(probe_path(features, labels, n_classes, l2_grid=l2_grid), validation, adjust=adjust)


def best_probe(
    path: Sequence[Probe],
    validation: tuple[Embeddings, Embeddings],
    *,
    adjust: Sequence[int] | np.ndarray | None = None,
) -> Probe:
    """Return the probe of a path with the highest macro F1 on validation; of equal ones the first.

    Args:
        path: At least one probe, as :func:`probe_path` gives them.
        validation: Features ``(m, d)`` and labels ``(m,)``.
        adjust: ``(c,)`` training samples of each class: choose among the balanced probes. None: the plain ones.

    Raises:
        InputError: The validation samples are none, not finite, of another width, or of unknown classes.
    """
    probes = list(path) if adjust is None else [probe.balanced(adjust) for probe in path]
    features = _matrix(validation[0], "validation features")
    labels = torch.as_tensor(validation[1]).cpu().numpy()

    def macro_f1(probe: Probe) -> float:
        predicted = probe.predict_logits(features).argmax(axis=1)
        return classification_metrics(labels, predicted, len(probe.bias)).macro_f1

    return max(probes, key=macro_f1)  # max keeps the first of equal ones


def probe_path(
    features: Embeddings, labels: Embeddings, n_classes: int, *, l2_grid: Sequence[float] = L2_GRID
) -> list[Probe]:
    """Fit a probe for each strength, the strongest first, each starting from the one before.

    Minimises ``mean_i CE(W x_i + b, y_i) + l2 / 2 ||W||^2`` over standardised features; the bias is free. It is
    scikit-learn's LogisticRegression with ``C = 1 / (n l2)``.

    Args:
        features: ``(n, d)``; fitted on the device where they are.
        labels: ``(n,)`` integers from 0 to ``n_classes - 1``; classes without samples are allowed.
        n_classes: c.
        l2_grid: Positive strengths, in any order.

    Returns:
        One probe a strength, strength descending.

    Raises:
        InputError: The features are not a finite matrix, the labels do not fit, only one class has samples, or a
            strength is not positive.
    """
    matrix = _matrix(features, "training features")
    targets = torch.as_tensor(labels).to(matrix.device)
    _check_labels(targets, len(matrix), n_classes)
    grid = sorted(l2_grid, reverse=True)
    if not grid or not all(0 < l2 < math.inf for l2 in grid):
        raise InputError(f"l2_grid must hold positive numbers; got {list(l2_grid)}")

    wide = matrix.double()
    mean, std = wide.mean(dim=0), wide.std(dim=0, correction=0)
    # A constant feature's computed deviation is rounding, not 0.
    std = torch.where(std > 1e-6 * mean.abs().clamp(min=1e-30), std, 1.0)
    standardised = ((wide - mean) / std).float()
    present, targets = torch.unique(targets, return_inverse=True)
    if len(present) < 2:
        raise InputError(f"a probe needs samples of at least two classes; all have class {int(present[0])}")

    problem = _Problem(standardised, targets, len(present))
    rows = present.cpu().numpy()
    path = []
    for l2 in grid:
        weight, bias = problem.solve(l2)
        full_weight = np.zeros((n_classes, matrix.shape[1]), dtype=np.float32)
        full_bias = np.full(n_classes, -np.inf, dtype=np.float32)
        full_weight[rows], full_bias[rows] = weight.cpu().numpy(), bias.cpu().numpy()
        path.append(Probe(full_weight, full_bias, _array(mean), _array(std), float(l2)))
    return path


class _Problem:
    """The regression in coordinates in which its curvature is about 1, so that L-BFGS takes few steps.

    The features are rotated to their principal axes, and each variable is divided by the root of its own curvature at
    the start: what remains is close to independent variables of equal curvature. A change of variables moves no
    minimum: the penalty stays on the weights, whose norm a rotation keeps.
    """

    def __init__(self, features: Tensor, targets: Tensor, n_classes: int) -> None:
        n, d = features.shape
        covariance = torch.zeros(d, d, dtype=torch.float64, device=features.device)
        for part in features.split(8192):
            covariance += part.double().T @ part.double()
        self.axes = torch.linalg.eigh(covariance / n).eigenvectors.float()
        self.features = features @ self.axes
        self.targets = targets
        self.onehot = torch.nn.functional.one_hot(targets, n_classes).to(features.dtype)
        self.weight = torch.zeros(n_classes, d, device=features.device)
        self.bias = self.onehot.mean(dim=0).log()

    def solve(self, l2: float) -> tuple[Tensor, Tensor]:
        """Minimise from where the last call ended; returns the weight for unrotated features and the bias."""
        weight_scale, bias_scale = self._scales(l2)
        variables = torch.cat([(self.weight / weight_scale).ravel(), self.bias / bias_scale]).requires_grad_()
        split = self.weight.numel()

        def unpack(values: Tensor) -> tuple[Tensor, Tensor]:
            return values[:split].view_as(self.weight) * weight_scale, values[split:] * bias_scale

        @torch.no_grad()
        def objective() -> Tensor:
            weight, bias = unpack(variables)
            loss, weight_gradient, bias_gradient = self._value(weight, bias, l2)
            variables.grad = torch.cat([(weight_gradient * weight_scale).ravel(), bias_gradient * bias_scale])
            return loss

        optimizer = torch.optim.LBFGS(
            [variables],
            max_iter=_MAX_ITERATIONS,
            history_size=_HISTORY,
            tolerance_grad=_GRADIENT_TOLERANCE,
            tolerance_change=_CHANGE_TOLERANCE,
            line_search_fn="strong_wolfe",
        )
        optimizer.step(objective)
        self.weight, self.bias = unpack(variables.detach())
        return self.weight @ self.axes.T, self.bias

    def _scales(self, l2: float) -> tuple[Tensor, Tensor]:
        """One over the root of the Hessian's diagonal at the present weight and bias."""
        p = torch.softmax(torch.addmm(self.bias, self.features, self.weight.T), dim=1)
        spread = p * (1 - p) / len(p)
        flat = spread.sum(dim=0).clamp(min=1e-8)  # where all is certain, it vanishes
        return (spread.T @ self.features.square() + l2).rsqrt(), flat.rsqrt()

    def _value(self, weight: Tensor, bias: Tensor, l2: float) -> tuple[Tensor, Tensor, Tensor]:
        """The objective with its gradients."""
        log_probabilities = torch.log_softmax(torch.addmm(bias, self.features, weight.T), dim=1)
        picked = log_probabilities.gather(1, self.targets[:, None])
        loss = -picked.mean(dtype=torch.float64) + l2 / 2 * weight.double().square().sum()
        residual = log_probabilities.exp_().sub_(self.onehot).div_(len(self.targets))
        return loss, residual.T @ self.features + l2 * weight, residual.sum(dim=0)


def _matrix(features: Embeddings, name: str) -> Tensor:
    matrix = torch.as_tensor(features).detach()
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(f"{name} must be a matrix with at least one row and column; got {tuple(matrix.shape)}")
    matrix = matrix.float()
    bad = int((~torch.isfinite(matrix)).any(dim=1).sum())
    if bad:
        raise InputError(f"{bad} of {len(matrix)} rows of {name} hold numbers that are not finite")
    return matrix


def _check_labels(labels: Tensor, n: int, n_classes: int) -> None:
    if labels.shape != (n,) or labels.is_floating_point():
        raise InputError(f"need one integer label for each of {n} samples; got {labels.dtype} {tuple(labels.shape)}")
    outside = labels[(labels < 0) | (labels >= n_classes)]
    if len(outside):
        raise InputError(f"label {int(outside[0])} is outside 0 to {n_classes - 1}")


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()
