"""Objectives for pairs of images and texts: tensors in, a scalar out, no model inside."""

from eotune.losses.contrastive import contrastive_loss, positives_from_ids, sigmoid_loss
from eotune.losses.gather import gather_with_gradients
from eotune.losses.triplet import adaptive_triplet_loss, triplet_loss

__all__ = [
    "adaptive_triplet_loss",
    "contrastive_loss",
    "gather_with_gradients",
    "positives_from_ids",
    "sigmoid_loss",
    "triplet_loss",
]
