"""Objectives for pairs of images and texts, and for long-tailed classes with the heads that some of them need."""

from eotune.losses.contrastive import contrastive_loss, positives_from_ids, sigmoid_loss
from eotune.losses.cosine_head import CosineHead
from eotune.losses.gather import gather_with_gradients
from eotune.losses.logit_adjustment import adjust_logits, balanced_softmax, logit_adjusted
from eotune.losses.reslt import ResLTHead, reslt_loss
from eotune.losses.reweighting import reweighted_cross_entropy
from eotune.losses.sade import SADEHead, sade_loss
from eotune.losses.triplet import adaptive_triplet_loss, triplet_loss

__all__ = [
    "CosineHead",
    "ResLTHead",
    "SADEHead",
    "adaptive_triplet_loss",
    "adjust_logits",
    "balanced_softmax",
    "contrastive_loss",
    "gather_with_gradients",
    "logit_adjusted",
    "positives_from_ids",
    "reslt_loss",
    "reweighted_cross_entropy",
    "sade_loss",
    "sigmoid_loss",
    "triplet_loss",
]
