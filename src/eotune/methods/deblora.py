"""debLoRA: features of rare classes are moved towards centres that frequent classes share (arXiv 2410.04546).

Phase ``lora`` trains an ordinary LoRA with the task's loss. Then, once: features z of the training images; K clusters
of them, of a minimum size; a de-biased centre of each class from the clusters that it lies in; targets, in which rare
classes are pulled to their centre. Phase ``debias`` trains the same LoRA on towards the targets. The result is an
ordinary LoRA adapter. The equations stand in :mod:`eotune.clustering.debias`, settings and deviations in
docs/methods/deblora.md.
"""

import math
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from eotune.clustering.debias import (
    calibrate,
    calibration_alpha,
    collapsed_pairs,
    composition,
    debiased_centres,
    tail_weights,
)
from eotune.core.errors import InputError
from eotune.core.seeds import derive_seed
from eotune.encoders.base import Encoder
from eotune.methods import base, lora
from eotune.methods.targets import LabelledFeatures, Targets
from eotune.metrics.class_geometry import class_centres

_STARTS = 3  # of k-means; the best one counts
_MIN_SAMPLES = 5
_CLUSTERS, _RHO, _FIRST = 32, 10.0, 0.5


class DebloraConfig(lora.LoraConfig):
    """Settings of debLoRA, beside LoRA's.

    Attributes:
        features: ``lora``: of the encoder that the first phase adapted; ``frozen``: of the pretrained one, without a
            first phase.
        first: Share of the epochs that the first phase takes.
        start: Whether the second phase goes on from the first one's ``lora``, or from a ``fresh`` one, with all that
            trains along as the pretrained model has it.
        clustering: ``kmeans`` with a minimum size; ``dbscan`` and ``hdbscan`` choose the number of clusters, and leave
            noise.
        clusters: K.
        rho: A cluster has at least N / (K rho) of the N images; the source's value is unknown.
        eps: Neighbourhood of DBSCAN, in the units of the features; None takes it from their distances.
        min_samples: Of DBSCAN; of HDBSCAN, the size from which a group is a cluster.
        standardise: Whether features are divided by their standard deviations for clustering.
        weights: How clusters count in a class's centre: by the share of the ``class`` that lies in them, or by the
            share of the ``cluster`` that is of the class.
        centre: What rare classes are pulled to: the ``clusters`` centres, or the ``class_mean``.
        strong: Imbalance ratio up to which a class keeps its features: alpha = min(1, strong / ratio).
        distance: Between features and targets: ``squared``, or the ``norm``.
        sampling: Of the second phase: each image once an epoch, or each class as often.
        augment: Whether the second phase varies images; the targets are features of images as they are.
        task_weight: mu, weight of the task's loss in the second phase.
    """

    name: Literal["deblora"] = "deblora"  # type: ignore[assignment]
    features: Literal["lora", "frozen"] = "lora"
    first: float = Field(default=_FIRST, gt=0, lt=1)
    start: Literal["lora", "fresh"] = "lora"
    clustering: Literal["kmeans", "dbscan", "hdbscan"] = "kmeans"
    clusters: int = Field(default=_CLUSTERS, ge=1)
    rho: float = Field(default=_RHO, ge=1)
    eps: float | None = Field(default=None, gt=0)
    min_samples: int = Field(default=_MIN_SAMPLES, ge=1)
    standardise: bool = False
    weights: Literal["class", "cluster"] = "class"
    centre: Literal["clusters", "class_mean"] = "clusters"
    strong: float = Field(default=10.0, gt=0)
    distance: Literal["squared", "norm"] = "squared"
    sampling: Literal["uniform", "balanced"] = "uniform"
    augment: bool = True
    task_weight: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _in_use(self) -> "DebloraConfig":
        """Refuse settings of another choice: trials over them would be the same trial."""
        if self.eps is not None and self.clustering != "dbscan":
            raise ValueError(f"eps is dbscan's; clustering is {self.clustering}")
        if self.min_samples != _MIN_SAMPLES and self.clustering == "kmeans":
            raise ValueError("min_samples is dbscan's and hdbscan's; clustering is kmeans")
        if self.clustering != "kmeans" and (self.clusters, self.rho) != (_CLUSTERS, _RHO):
            raise ValueError(f"clusters and rho are kmeans's; clustering is {self.clustering}")
        if self.centre == "class_mean" and self.weights != "class":
            raise ValueError("weights are those of clusters; centre is class_mean")
        if self.features == "frozen" and (self.first, self.start) != (_FIRST, "lora"):
            raise ValueError("first and start are of a run with a first phase; features are frozen")
        return self


class Method(lora.Method):
    """LoRA in two phases: towards the labels, then towards de-biased features."""

    Config = DebloraConfig
    needs_labels = True
    config: DebloraConfig

    def __init__(self, config: base.MethodConfig) -> None:
        super().__init__(config)
        self._untrained: dict[str, Tensor] = {}

    def apply(self, encoder: Encoder, *, seed: int) -> None:
        """Apply LoRA; where the second phase starts afresh, keep what trains as it is now."""
        super().apply(encoder, seed=seed)
        if self.config.start == "fresh":
            trained = base.trained_parameters(encoder)
            self._untrained = {name: parameter.detach().clone() for name, parameter in trained.items()}

    def phases(self) -> tuple[base.Phase, ...]:
        """Return both phases; features of the pretrained encoder need no first one."""
        config = self.config
        second = base.Phase(
            "debias",
            config.model_dump(include={"task_weight", "distance", "sampling", "augment"}),
            targets=self.targets,
            prepare=self._restart if config.start == "fresh" else None,
            share=1.0 if config.features == "frozen" else 1 - config.first,
        )
        return (second,) if config.features == "frozen" else (base.Phase("lora", share=config.first), second)

    def check_samples(self, n: int) -> None:
        """Refuse clusters that ``n`` training images cannot fill."""
        config = self.config
        if config.clustering == "kmeans":
            least = self._least(n)
            if config.clusters > n:
                raise InputError(
                    f"method.clusters {config.clusters} is more than the {n} training images",
                    remedy="lower method.clusters",
                )
            if config.clusters * least > n:
                raise InputError(
                    f"method.clusters {config.clusters} and method.rho {config.rho:g} ask for clusters of {least} or "
                    f"more, but there are {n} training images",
                    remedy="lower method.clusters, or raise method.rho",
                )
        elif not (least := 2 if config.clustering == "hdbscan" else 1) <= config.min_samples <= n:
            raise InputError(
                f"method.min_samples {config.min_samples} for {config.clustering} of {n} training images",
                remedy=f"give {least} to {n}",
            )

    def targets(self, features: LabelledFeatures) -> Targets:
        """Cluster features and pull those of rare classes to their de-biased centres.

        Raises:
            InputError: There are too few images for the clusters, or the features are not finite.
        """
        config, values, labels = self.config, features.values, features.labels
        self.check_samples(len(values))
        counts = features.counts()
        alpha = calibration_alpha(counts, config.strong)
        clusters, centres = self._clusters(values, features.seed)
        shared = composition(clusters, labels, len(centres), len(counts))
        if config.centre == "class_mean":
            goals = class_centres(values, labels, len(counts))
        else:
            goals = debiased_centres(values, labels, tail_weights(shared, config.weights), centres)
        calibrated = calibrate(values, labels, goals, alpha).astype(np.float32)
        moved = np.linalg.norm(calibrated - values, axis=1) / np.linalg.norm(values, axis=1)
        rare = np.flatnonzero(alpha < 1)
        report = {
            "classes": list(features.classes),
            "counts": counts.tolist(),
            "alpha": alpha.tolist(),
            "composition": shared.tolist(),
            "noise": int((clusters < 0).sum()),
            "collapsed_pairs": [
                [features.classes[one], features.classes[other], cosine]
                for one, other, cosine in collapsed_pairs(goals - values.mean(axis=0), rare)
            ],
            "moved": [float(moved[labels == label].mean()) for label in range(len(counts))],
        }
        return Targets(calibrated, report)

    def _least(self, n: int) -> int:
        """Return the least size of a cluster of k-means: n_k >= N / (K rho)."""
        return math.ceil(n / (self.config.clusters * self.config.rho))

    def _clusters(self, values: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the cluster of each sample, -1 for noise, and the centres of the clusters."""
        # They import scikit-learn, a second of every command's start.
        from eotune.clustering.density import dbscan, hdbscan
        from eotune.clustering.size_constrained import SizeConstrainedKMeans

        config = self.config
        scaled = values / np.maximum(values.std(axis=0), 1e-6) if config.standardise else values
        if config.clustering == "kmeans":
            least = self._least(len(values))
            found = SizeConstrainedKMeans(config.clusters, min_size=least, n_init=_STARTS, random_state=seed)
            clusters = found.fit(scaled).labels_
        elif config.clustering == "dbscan":
            clusters, _ = dbscan(scaled, eps=config.eps, min_samples=config.min_samples)
        else:
            clusters, _ = hdbscan(scaled, min_cluster_size=config.min_samples)
        # Of the features themselves, whatever they were scaled to for clustering.
        means = [values[clusters == number].mean(axis=0) for number in range(clusters.max() + 1)]
        return clusters, np.array(means, np.float64).reshape(len(means), values.shape[1])

    def _restart(self, encoder: Encoder) -> None:
        """Put all that trains back as it was before the first phase, and draw LoRA's weights anew."""
        from peft.tuners.lora import LoraLayer

        if self.origin is None:
            raise ValueError("method.apply(encoder) comes first")
        with torch.no_grad():
            for name, parameter in base.trained_parameters(encoder).items():
                parameter.copy_(self._untrained[name])
        with base.seeded(derive_seed(self.origin.seed, "fresh")):
            for module in encoder.modules():
                if isinstance(module, LoraLayer):
                    module.reset_lora_parameters("default", init_lora_weights=True)
