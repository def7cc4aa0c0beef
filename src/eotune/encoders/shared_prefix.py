"""Two texts over one image in little more than one pass: the second starts from the first one's keys and values.

In a causal model the states of the image, and of the text before the first token that differs, are the same in both
encodings. So the first text is encoded whole, and of the second only what follows the common prefix, against the first
one's cache. In a batch the prefixes end at different tokens: what lies behind each is masked, and positions go on from
where its own prefix ended. With P common tokens of L the two cost L + (L - P) tokens instead of 2 L, and the image is
encoded once.
"""

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from eotune.encoders.multimodal_inputs import PairInput, collate

TokenPooling = Literal["mean", "last"]
_TOLERANCE = {torch.float32: 1e-3}  # relative; in 16 bits two orders of summation alone differ by up to 4e-2
_COARSE = 5e-2
_SEEN = 1e-3  # relative; of states that two passes of one shape compute in the same order, so exact in 16 bits, too


@torch.inference_mode()
def text_vectors(model: Any, inputs: Sequence[PairInput], pool: TokenPooling, *, pad_id: int = 0) -> Tensor:
    """Encode one batch of pairs and pool the last hidden states of their text's tokens.

    Args:
        model: A transformers vision-language model without its head, in evaluation mode.
        inputs: The pairs.
        pool: ``mean`` of the text's tokens, or the ``last``.
        pad_id: Of the tokenizer.

    Returns:
        float32 ``(n, d)``.
    """
    states = model(**_batch(model, inputs, pad_id), use_cache=False).last_hidden_state
    return _pooled(states, _inside(states, [one.text_start for one in inputs], list(map(len, inputs))), pool)


@torch.inference_mode()
def shared_prefix_vectors(
    model: Any,
    inputs: Sequence[PairInput],
    perturbed: Sequence[Sequence[PairInput]],
    pool: TokenPooling,
    *,
    pad_id: int = 0,
) -> tuple[Tensor, Tensor] | None:
    """Encode one batch of pairs, and other texts over the same images from the prefix that they share.

    Args:
        model: As for :func:`text_vectors`, and :func:`shares_prefix` of it.
        inputs: The pairs.
        perturbed: Other texts of each, as many of every one, see :meth:`PairInput.with_tail`.
        pool: ``mean`` of the text's tokens, or the ``last``.
        pad_id: Of the tokenizer.

    Returns:
        The vectors of the pairs, float32 ``(n, d)``, and of the others, ``(n, repeats, d)``; None where the model's
        cache does not keep every token (recurrent layers, a sliding window that is shorter than the texts).
    """
    output = model(**_batch(model, inputs, pad_id), use_cache=True)
    states, cache = output.last_hidden_state, output.past_key_values
    longest = max(len(one) for others in perturbed for one in others)
    if not _keeps_every_token(cache, states.shape[1] + longest):
        return None
    vectors = _pooled(states, _inside(states, [one.text_start for one in inputs], list(map(len, inputs))), pool)
    # An image of Qwen-VL takes fewer positions than tokens.
    deltas = getattr(model, "rope_deltas", None)
    offset = 0 if deltas is None else deltas.to(states.device).view(-1, 1)
    repeats = []
    for others in zip(*perturbed, strict=True):
        common = [_common_prefix(one.ids, other.ids) for one, other in zip(inputs, others, strict=True)]
        starts = [other.text_start for other in others]
        kept = _inside(states, [0] * len(others), common)
        tail, found = _tail(others, common, pad_id, states.device)
        everything, pooled = states, kept & _inside(states, starts, common)
        if tail.numel():  # else the others are prefixes of the texts
            steps = torch.arange(tail.shape[1], device=states.device)
            output = model(
                input_ids=tail,
                attention_mask=torch.cat([kept, found], 1).long(),
                position_ids=torch.tensor(common, device=states.device)[:, None] + offset + steps,
                past_key_values=_fork(cache),
                use_cache=True,
            )
            # A text may begin behind the common prefix, where tokens merge with what stands before them.
            own = steps >= torch.tensor(starts, device=states.device)[:, None] - torch.tensor(common).to(steps)[:, None]
            everything = torch.cat([states, output.last_hidden_state], 1)
            pooled = torch.cat([pooled, found & own], 1)
        repeats.append(_pooled(everything, pooled, pool))
    return vectors, torch.stack(repeats, 1)


@torch.inference_mode()
def shares_prefix(model: Any, one: PairInput, other: PairInput, *, pad_id: int = 0) -> bool:
    """Return whether the shared prefix gives a model's own vectors: tried on one image with two texts.

    Where the prefix sees what follows it (PaliGemma), or positions cannot be given, it does not. The former is told
    from rounding by two texts of one length, whose passes round alike.

    Args:
        model: As for :func:`text_vectors`.
        one: An image with a text.
        other: The same image with another text, of another length.
        pad_id: Of the tokenizer.
    """
    if _sees_what_follows(model, one, pad_id):
        return False
    plain = torch.cat([text_vectors(model, [pair], "mean", pad_id=pad_id) for pair in (one, other)])
    try:
        found = shared_prefix_vectors(model, [one, other], [[other], [one]], "mean", pad_id=pad_id)
    except (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError, NotImplementedError):
        return False  # a model that takes no cache or positions from outside, each says so in its own way
    if found is None:
        return False
    vectors, others = found
    error = (torch.cat([vectors, others[:, 0]]) - plain[[0, 1, 1, 0]]).norm(dim=1) / plain[[0, 1, 1, 0]].norm(dim=1)
    return bool((error < _TOLERANCE.get(model.dtype, _COARSE)).all())


def _sees_what_follows(model: Any, one: PairInput, pad_id: int) -> bool:
    """Return whether the states of an image change with the text behind it."""
    start = one.text_start
    # The same tokens in another order would hardly show: attention of a new model is near a mean.
    other = one.with_tail(start, [int(one.ids[start])] * (len(one) - start), start)
    before, after = (
        model(**_batch(model, [pair], pad_id), use_cache=False).last_hidden_state[0, :start].float()
        for pair in (one, other)
    )
    return bool((before - after).norm() > _SEEN * before.norm())


def _batch(model: Any, inputs: Sequence[PairInput], pad_id: int) -> dict[str, Tensor]:
    batch = collate([one.tensors for one in inputs], pad_id)
    return {
        name: tensor.to(model.device, model.dtype if tensor.is_floating_point() else None)
        for name, tensor in batch.items()
    }


def _tail(
    others: Sequence[PairInput], common: Sequence[int], pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the tokens behind the common prefixes, ``(n, s)``, and which of them are real."""
    tails = [other.ids[start:] for other, start in zip(others, common, strict=True)]
    ids = torch.nn.utils.rnn.pad_sequence(tails, batch_first=True, padding_value=pad_id).to(device)
    lengths = torch.tensor([len(tail) for tail in tails], device=device)
    return ids, torch.arange(ids.shape[1], device=device) < lengths[:, None]


def _inside(states: Tensor, starts: Sequence[int], ends: Sequence[int]) -> Tensor:
    """Return which tokens stand from ``starts`` up to ``ends``, ``(n, t)``."""
    place = torch.arange(states.shape[1], device=states.device)
    first, end = (torch.tensor(one, device=states.device)[:, None] for one in (starts, ends))
    return (place >= first) & (place < end)


def _pooled(states: Tensor, pooled: Tensor, pool: TokenPooling) -> Tensor:
    if pool == "mean":
        # In float32: sums of 16-bit numbers lose what the difference of two vectors is made of.
        return torch.einsum("nt,ntd->nd", pooled.float(), states.float()) / pooled.sum(1, keepdim=True)
    last = torch.where(pooled, torch.arange(pooled.shape[1], device=pooled.device), 0).amax(1)
    return states[torch.arange(len(states), device=states.device), last].float()


def _common_prefix(one: Tensor, other: Tensor) -> int:
    shorter = min(len(one), len(other))
    return int((one[:shorter] == other[:shorter]).long().cumprod(0).sum())


def _keeps_every_token(cache: Any, length: int) -> bool:
    """Return whether a cache holds keys of every token apart, of which some can then be masked."""
    layers = getattr(cache, "layers", [])
    windows = {"DynamicLayer": length + 1}
    return bool(layers) and all(
        length < (layer.sliding_window if kind == "DynamicSlidingWindowLayer" else windows.get(kind, 0))
        for layer, kind in ((layer, type(layer).__name__) for layer in layers)
    )


def _fork(cache: Any) -> Any:
    """Copy a cache without its tensors: a layer replaces them when it grows."""
    fork = copy.copy(cache)
    fork.layers = [copy.copy(layer) for layer in cache.layers]
    return fork
