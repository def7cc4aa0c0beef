"""The bottleneck of adapters, and where one stands in a transformer block: after a sublayer, or beside the MLP.

Sizes: ``n`` samples, ``t`` tokens, ``c`` the tower's width, ``b`` the bottleneck.
"""

from typing import Any, Literal

from torch import Tensor, nn

from eotune.core.errors import InputError
from eotune.encoders.base import Block, Encoder

_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}


class Bottleneck(nn.Module):
    """``W_up f(W_down x)``, ``c -> b -> c``, the same for every token; W_up starts at zero, and so does the output.

    Args:
        width: c.
        bottleneck: b.
        activation: f.
        dropout: Behind f, in training.

    Example:
        >>> import torch
        >>> bool(Bottleneck(16, 4, "gelu", 0.0)(torch.ones(2, 3, 16)).any())
        False
    """

    def __init__(self, width: int, bottleneck: int, activation: Literal["gelu", "relu"], dropout: float) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.activation = _ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(bottleneck, width)
        for start_at_zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(start_at_zero)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(n, t, c)`` to ``(n, t, c)``."""
        return self.up(self.dropout(self.activation(self.down(tokens))))


class After(nn.Module):
    """Stands where a block's frozen module stood and adds an adapter of its output: ``y + adapter(y)``.

    Args:
        frozen: Returns y.
        adapter: Held without being registered, since other layers may use it too.
    """

    def __init__(self, frozen: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.frozen = frozen
        self._shared = (adapter,)  # in a tuple, out of sight of state_dict()

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run the frozen module, then the adapter."""
        output = self.frozen(*args, **kwargs)
        return output + self._shared[0](output)


class Beside(nn.Module):
    """Stands where a block's frozen MLP stood and adds an adapter of the MLP's input: ``mlp(x) + s * adapter(x)``.

    Args:
        frozen: The module whose output is the MLP's.
        adapter: Held without being registered, since other layers may use it too.
        scale: s; a parameter is learned.
        first: Where the MLP's input enters, if not at ``frozen``.
    """

    def __init__(
        self, frozen: nn.Module, adapter: nn.Module, scale: float | nn.Parameter, first: nn.Module | None
    ) -> None:
        super().__init__()
        self.frozen = frozen
        self.scale = scale
        self._shared = (adapter, None if first is None else _LastInput(first))

    def forward(self, tokens: Tensor) -> Tensor:
        """Run the frozen MLP and add the scaled adapter, ``(n, t, c)``."""
        adapter, entered = self._shared
        source = tokens if entered is None else entered.take()
        return self.frozen(tokens) + self.scale * adapter(source)


class _LastInput:
    """What a module was last called with: read by the adapter further on in the same block."""

    def __init__(self, module: nn.Module) -> None:
        self.value: Tensor | None = None
        module.register_forward_pre_hook(self)

    def __call__(self, _module: nn.Module, args: tuple[Any, ...]) -> None:
        self.value = args[0]

    def take(self) -> Tensor:
        value, self.value = self.value, None  # a kept tensor would keep its whole graph
        if value is None:
            raise RuntimeError("the MLP's last layer was called without its first")
        return value


def attention_output(encoder: Encoder, block: Block) -> str:
    """Return the path of the layer whose output is the self-attention's, before the residual sum.

    That is the last linear layer inside it: after query, key and value comes the output projection.

    Raises:
        InputError: There is none, or torch's own attention holds it, which never calls it as a module.
    """
    modules = dict(encoder.get_submodule(block.attention).named_modules(prefix=block.attention))
    linear = [path for path, module in modules.items() if isinstance(module, nn.Linear)]
    if not linear or isinstance(modules.get(linear[-1].rpartition(".")[0]), nn.MultiheadAttention):
        raise InputError(
            f"{block.attention}: no output projection that an adapter could follow",
            remedy="set method.placement to pfeiffer",
        )
    return linear[-1]


def mlp_first(encoder: Encoder, block: Block) -> nn.Module | None:
    """Return the layer where the MLP's input enters; None where :attr:`Block.mlp` is the whole MLP.

    Raises:
        InputError: :attr:`Block.mlp` is the MLP's last layer, and the one that feeds it was not found.
    """
    last = encoder.get_submodule(block.mlp)
    if not isinstance(last, nn.Linear):
        return None
    for path, module in encoder.get_submodule(block.path).named_modules(prefix=block.path):
        sizes = (module.in_features, module.out_features) if isinstance(module, nn.Linear) else None
        if sizes == (block.width, last.in_features) and not path.startswith(block.attention + "."):
            return module
    raise InputError(
        f"{block.path}: the first layer of the MLP that ends in {block.mlp} was not found", remedy="use method adapter"
    )
