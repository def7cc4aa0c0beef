"""LIFT: lightweight fine-tuning for long tails (Shi et al., arXiv 2309.10019).

AdaptFormer modules, whose scale is learned layer by layer from 1, trained by the logit-adjusted loss with a cosine
classifier that starts from what the classes mean.
The source starts it from text embeddings of the class names; here it starts from the means of the training features,
which every image encoder has. Its test-time ensembling, an average over five crops, is a setting of the task
(``five_crops``): any method may have it.
"""

from typing import Literal

from eotune.methods import adaptformer, base


class LiftConfig(adaptformer.AdaptformerConfig):
    """Settings of LIFT: those of AdaptFormer.

    Attributes:
        scale: ``learned``, as in the released code: one a layer, from 1; or a number.
    """

    name: Literal["lift"] = "lift"  # type: ignore[assignment]
    scale: float | Literal["learned"] = "learned"


class Method(adaptformer.Method):
    """AdaptFormer under a logit-adjusted loss and a cosine classifier."""

    Config = LiftConfig
    needs_labels = True
    config: LiftConfig

    def phases(self) -> tuple[base.Phase, ...]:
        """Return one phase, with LIFT's loss and head."""
        return (base.Phase("train", {"loss": "logit_adjusted", "head": "cosine", "head_start": "class_means"}),)
