"""The pretrained model as it is: the zero-shot baseline."""

from typing import Literal

from eotune.encoders.base import Encoder
from eotune.methods import base


class FrozenConfig(base.MethodConfig):
    """Nothing to set."""

    name: Literal["frozen"] = "frozen"


class Method(base.Method):
    """Nothing changes and nothing trains."""

    Config = FrozenConfig

    def phases(self) -> tuple[base.Phase, ...]:
        """Return no phase."""
        return ()

    def _inject(self, _encoder: Encoder, _seed: int, /) -> set[str]:
        return set()
