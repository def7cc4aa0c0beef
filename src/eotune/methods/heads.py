"""The projection heads alone: the linear probe of a dual encoder.

Both towers stay frozen; the linear maps into the shared space (``v = W_v f(image)``, ``t = W_t g(text)``) and the
logit scale train. It is the "linear probe" row of the comparisons in PE-RSITR (doi:10.1109/TGRS.2023.3308969).
"""

from typing import Literal

from eotune.core.errors import InputError
from eotune.encoders.base import Encoder
from eotune.methods import base


class HeadsConfig(base.TrainedConfig):
    """Settings of the projection-head baseline; see :class:`~eotune.methods.base.TrainedConfig`."""

    name: Literal["heads"] = "heads"


class Method(base.Method):
    """Trains the projection heads and the logit scale."""

    Config = HeadsConfig
    needs_text = True
    config: HeadsConfig

    def _inject(self, encoder: Encoder, _seed: int, /) -> set[str]:
        heads = base.projection_parameters(encoder)
        if not heads:
            raise InputError(
                f"encoder {encoder.name!r} has no projection heads to train", remedy="use another method, such as lora"
            )
        return heads | (base.scale_parameters(encoder) if self.config.logit_scale == "learned" else set())
