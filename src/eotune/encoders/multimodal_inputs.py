"""What a vision-language model takes for one image and text, and how several become a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

TOKENS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")  # (n, t), padded along t


@dataclass(frozen=True)
class PairInput:
    """An image and a text as a vision-language model takes them.

    Attributes:
        tensors: The model's arguments, for a batch of one: ``input_ids`` ``(1, t)`` with the image's placeholder
            tokens, ``attention_mask`` of ones, and what the model asks for beside (pixels, grids, token types).
        text_start: Where the text's own tokens begin; they end with the last one.
    """

    tensors: Mapping[str, Tensor]
    text_start: int

    @property
    def ids(self) -> Tensor:
        """The token ids, ``(t,)``."""
        return self.tensors["input_ids"][0]

    def __len__(self) -> int:
        return len(self.ids)

    def with_tail(self, start: int, ids: Sequence[int], text_start: int) -> "PairInput":
        """Return the same image with other tokens from ``start`` on, all of them text."""
        tail = torch.tensor([list(ids)], dtype=torch.long)
        tails = {"input_ids": tail, "attention_mask": torch.ones_like(tail)}
        tokens = {
            name: torch.cat([self.tensors[name][:, :start], tails.get(name, torch.zeros_like(tail))], 1)  # type 0: text
            for name in TOKENS
            if name in self.tensors
        }
        return PairInput({**self.tensors, **tokens}, text_start)

    def cut(self, length: int) -> "PairInput":
        """Return the first ``length`` tokens, the image's among them."""
        return self if len(self) <= length else self.with_tail(length, [], self.text_start)


def collate(
    inputs: Sequence[Mapping[str, Tensor]], pad_id: int, *, side: Literal["left", "right"] = "right"
) -> dict[str, Tensor]:
    """Join batches of one into a batch.

    Tokens are padded to the longest, and masked there. Other tensors are padded with zeros in every dimension but the
    first, as transformers' processors do (Idefics3's missing tiles), and joined along it.

    Args:
        inputs: The model's arguments, of each sample.
        pad_id: The token that fills up.
        side: Where it is put; ``left`` for generation.

    Example:
        >>> rows = [{"input_ids": torch.tensor([ids])} for ids in ([5], [6, 7])]
        >>> collate(rows, 0)["input_ids"].tolist()
        [[5, 0], [6, 7]]
    """
    joined = {}
    for name in dict.fromkeys(name for one in inputs for name in one):
        parts = [one[name] for one in inputs if name in one]
        longest = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
        left = name in TOKENS and side == "left"
        joined[name] = torch.cat([_padded(part, longest, pad_id if name == "input_ids" else 0, left) for part in parts])
    return joined


def _padded(tensor: Tensor, longest: Sequence[int], fill: int, left: bool) -> Tensor:
    padded = tensor.new_full((len(tensor), *longest), fill)
    sizes = zip(tensor.shape[1:], longest, strict=True)
    padded[(slice(None), *(slice(size - own, None) if left else slice(own) for own, size in sizes))] = tensor
    return padded
