"""A contrastive step in chunks: the loss and gradient of the whole batch with the memory of one chunk.

Gradient caching (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", arXiv
2101.06983): embed all chunks without gradients, take the loss's gradient with respect to the embeddings, then embed
each chunk again and push its share of that gradient through the model.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

Forward = Callable[[Mapping[str, Tensor]], Any]
Loss = Callable[[Any, Mapping[str, Tensor]], Tensor]


def chunked_backward(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    *,
    forward: Forward,
    loss: Loss,
    backward: Callable[[Tensor], None],
    chunk_size: int,
) -> Tensor:
    """Accumulate the gradient of the whole batch's loss, embedding ``chunk_size`` samples at a time.

    Args:
        model: What ``forward`` runs; under DDP its ``no_sync`` delays the gradient exchange to the last chunk.
        inputs: Tensors with one row a sample.
        targets: What ``loss`` needs beside the output.
        forward: Maps inputs to a dataclass whose tensors have one row a sample, or no dimension (scalars).
        loss: Maps that dataclass for the whole batch, and ``targets``, to a scalar.
        backward: Runs a scalar's backward pass (accelerate's, which scales under fp16).
        chunk_size: Samples a chunk.

    Returns:
        The loss, detached.
    """
    chunks = list(_split(inputs, chunk_size))
    states, outputs = [], []
    with torch.no_grad():
        for chunk in chunks:
            states.append(_random_state())  # the second pass must draw the same dropout
            outputs.append(forward(chunk))
    whole = _joined(outputs)
    value = loss(whole, targets)
    value.backward()

    start = 0
    for number, (chunk, state) in enumerate(zip(chunks, states, strict=True)):
        last = number == len(chunks) - 1
        rows = len(next(iter(chunk.values())))
        with nullcontext() if last else _no_sync(model):
            _set_random_state(state)
            output = forward(chunk)
            backward(_surrogate(output, whole, slice(start, start + rows), with_scalars=last))
        start += rows
    return value.detach()


def _split(inputs: Mapping[str, Tensor], size: int) -> Iterator[dict[str, Tensor]]:
    rows = len(next(iter(inputs.values())))
    for start in range(0, rows, size):
        yield {key: value[start : start + size] for key, value in inputs.items()}


def _joined(outputs: list[Any]) -> Any:
    """Concatenate rows, keep the last scalars; every tensor becomes a leaf that collects its gradient."""

    def join(name: str) -> Tensor | None:
        parts = [getattr(output, name) for output in outputs]
        if parts[0] is None:
            return None
        tensor = parts[-1].clone() if parts[0].ndim == 0 else torch.cat(parts)
        return tensor.detach().requires_grad_()

    names = [field.name for field in dataclasses.fields(outputs[0])]
    return dataclasses.replace(outputs[0], **{name: join(name) for name in names})


def _surrogate(output: Any, whole: Any, rows: slice, *, with_scalars: bool) -> Tensor:
    """Return the scalar whose gradient is the chain rule: sum of (embedding x cached gradient)."""
    total: Tensor | None = None
    for field in dataclasses.fields(output):
        tensor, leaf = getattr(output, field.name), getattr(whole, field.name)
        if tensor is None or leaf.grad is None or not tensor.requires_grad or (tensor.ndim == 0 and not with_scalars):
            continue
        gradient = leaf.grad if tensor.ndim == 0 else leaf.grad[rows]
        term = (tensor.float() * gradient.float()).sum()
        total = term if total is None else total + term
    return torch.zeros((), requires_grad=True) if total is None else total


def _no_sync(model: nn.Module) -> AbstractContextManager[Any]:
    return model.no_sync() if hasattr(model, "no_sync") else nullcontext()  # type: ignore[operator]


def _random_state() -> tuple[Tensor, list[Tensor]]:
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def _set_random_state(state: tuple[Tensor, list[Tensor]]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
