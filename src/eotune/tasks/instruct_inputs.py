"""A conversation as what a vision-language model learns from: its tokens, and which of them are answers."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eotune.core.errors import InputError
from eotune.encoders.multimodal_inputs import PairInput, collate
from eotune.encoders.multimodal_prompts import Prompts
from eotune.encoders.multimodal_vlm import VisionLanguageEncoder
from eotune.encoders.pretrained import first_line

IGNORED = -100  # the label of a token that is no answer's
_TYPES = "token_type_ids"


class Lessons:
    """Turns conversations into lessons: the prompt is the one that the model answers, answers end as its own do.

    Args:
        encoder: Its prompts, its end tokens.
        max_tokens: Longest conversation, the image's tokens among them; what goes beyond is cut off, but for prompts.
    """

    def __init__(self, encoder: VisionLanguageEncoder, max_tokens: int) -> None:
        self.prompts: Prompts = encoder.prompts
        self.max_tokens = max_tokens
        tokenizer = encoder.prompts.tokenizer
        ends = encoder.model.generation_config.eos_token_id
        ends = tokenizer.eos_token_id if ends is None else ends
        self._ends = [tokenizer.convert_ids_to_tokens(one) for one in (ends if isinstance(ends, list) else [ends])]
        self._frames: dict[int, int] = {}  # by the number of turns
        self._end = tokenizer.eos_token if tokenizer.eos_token in self._ends else self._ends[0]

    def lesson(self, image: np.ndarray, exchanges: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
        """Return the model's arguments for one conversation, a batch of one, with ``labels`` ``(1, t)``.

        A label is the token itself where it belongs to an answer or ends one, and :data:`IGNORED` elsewhere. Without a
        chat template, the first exchange is all.

        Args:
            image: uint8 ``(h, w, 3)``.
            exchanges: Questions with answers.

        Raises:
            InputError: The image or a text cannot be prepared, or the prompt alone takes all tokens.
        """
        first = self.prompts.question(image, exchanges[0][0])
        start = first["input_ids"].shape[1]
        room = self._room(start)
        tail, is_answer = self._tail(first["input_ids"][0].tolist(), self._pieces(exchanges))
        tail, is_answer = tail[:room], is_answer[:room]
        tensors = dict(PairInput(first, start).with_tail(start, tail, start).tensors)
        if _TYPES in tensors and not first[_TYPES].any():
            tensors[_TYPES][:, start:] = 1  # PaliGemma: what follows the prompt is seen by nothing before it
        taught = torch.tensor([token if mine else IGNORED for token, mine in zip(tail, is_answer, strict=True)])
        ignored = torch.full((start,), IGNORED)
        return {**tensors, "labels": torch.cat([ignored, taught.long()])[None]}

    def length(self, size: tuple[int, int], exchanges: Sequence[tuple[str, str]]) -> int:
        """Return how many tokens a conversation about an image of this height and width takes before it is cut.

        Raises:
            InputError: As for :meth:`lesson`.
        """
        prompt = self.prompts.tokens(exchanges[0][0])
        start = self.prompts.added_tokens(size) + len(prompt)
        self._room(start)
        return start + len(self._tail(prompt, self._pieces(exchanges))[0])

    def surely_fits(self, size: tuple[int, int], exchanges: Sequence[tuple[str, str]]) -> bool:
        """Return whether a conversation fits whatever its tokens are: none is shorter than a byte.

        Tells of most in a hundredth of the time of :meth:`length`.

        Raises:
            InputError: As for :meth:`lesson`.
        """
        texts = list(chain.from_iterable(exchanges))
        for text in texts:
            self.prompts.check(text)
        longest = (
            self.prompts.added_tokens(size) + self._frame(len(exchanges)) + sum(len(one.encode()) for one in texts)
        )
        return longest <= self.max_tokens

    def _frame(self, turns: int) -> int:
        """Return the bytes of what the chat template puts round so many questions and answers."""
        if turns not in self._frames:
            pieces = self._pieces([("?", "?")] * turns)
            self._frames[turns] = sum(len(text.encode()) for text, _ in pieces) + len(self.prompts.tokens("?"))
        return self._frames[turns]

    def _room(self, start: int) -> int:
        """Return how many tokens may follow a prompt of ``start`` tokens."""
        if start >= self.max_tokens:
            raise InputError(
                f"the prompt alone takes {start:,} tokens, and task.max_tokens is {self.max_tokens:,}",
                remedy="raise it, so that answers can be learnt",
            )
        return self.max_tokens - start

    def _pieces(self, exchanges: Sequence[tuple[str, str]]) -> list[tuple[str, bool]]:
        """Return a conversation in pieces, with which of them are answers; the first is the first prompt."""
        for text in chain.from_iterable(exchanges):
            self.prompts.check(text)
        if not getattr(self.prompts.processor, "chat_template", None):
            return [("", False), (exchanges[0][1] + self._end, True)]
        messages: list[dict[str, Any]] = []
        pieces, done, left = [], "", ""
        for number, (question, answer) in enumerate(exchanges):
            image = [{"type": "image"}] * (number == 0)
            messages.append({"role": "user", "content": [*image, {"type": "text", "text": question}]})
            asked = self._rendered(messages, done, prompt=True)
            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
            answered = self._rendered(messages, asked, prompt=False)
            pieces.append((left + asked[len(done) :], False))
            said = answered[len(asked) :]
            text = said.rstrip()
            left = said[len(text) :]
            if not text.endswith(tuple(self._ends)):  # LLaVA's template does not say where an answer ends
                text, left = text + self._end, ""
            pieces.append((text, True))
            done = answered
        return pieces

    def _rendered(self, messages: Sequence[Mapping[str, Any]], before: str, *, prompt: bool) -> str:
        """Return a conversation as text; ``before`` is what it began with."""
        try:
            text: str = self.prompts.processor.apply_chat_template(
                messages, add_generation_prompt=prompt, tokenize=False
            )
        except Exception as error:  # a template is a program
            raise InputError(
                f"the chat template fails ({first_line(error)})", remedy="take the model's own files"
            ) from None
        if not text.startswith(before):
            raise InputError(
                "the chat template writes a conversation anew with every turn, so that its answers cannot be told",
                remedy="keep one question and answer a sample",
            )
        return text

    def _tail(self, prompt: Sequence[int], pieces: Sequence[tuple[str, bool]]) -> tuple[list[int], list[bool]]:
        """Return the tokens behind the first prompt, and which of them belong to answers.

        Words are divided as they stand in the whole text; where its prompt then ends in another token than the prompt
        that the model is asked by, the rest is divided by itself.
        """
        tokenizer = self.prompts.tokenizer
        for skipped in (0, 1):
            texts = [text for text, _ in pieces[skipped:]]
            whole = "".join(texts)
            plain = skipped == 1 or (tokenizer.bos_token and whole.startswith(tokenizer.bos_token))
            found = tokenizer(whole, return_offsets_mapping=True, **({"add_special_tokens": False} if plain else {}))
            ids, offsets = found["input_ids"], found["offset_mapping"]
            bounds = np.cumsum([0, *map(len, texts)])
            owner = np.searchsorted(bounds, [begin for begin, _ in offsets], side="right") - 1
            is_answer = [
                end > begin and pieces[skipped + min(int(piece), len(texts) - 1)][1]
                for piece, (begin, end) in zip(owner, offsets, strict=True)
            ]
            first = is_answer.index(True) if True in is_answer else len(ids)
            if skipped or (first and pieces[0][0] and ids[first - 1] == prompt[-1]):
                break
        if not skipped:
            ids, is_answer = ids[first:], is_answer[first:]
        while is_answer and not is_answer[-1]:  # what the template or the tokenizer puts behind the last answer
            ids, is_answer = ids[:-1], is_answer[:-1]
        return list(ids), list(is_answer)


def collate_lessons(lessons: Sequence[Mapping[str, Tensor]], pad_id: int) -> dict[str, Tensor]:
    """Join lessons into a batch, padded on the right; padding is no answer.

    Example:
        >>> rows = [{"input_ids": torch.tensor([ids]), "labels": torch.tensor([ids])} for ids in ([5], [6, 7])]
        >>> collate_lessons(rows, 0)["labels"].tolist()
        [[5, -100], [6, 7]]
    """
    batch = collate([{name: one for name, one in lesson.items() if name != "labels"} for lesson in lessons], pad_id)
    labels = torch.full_like(batch["input_ids"], IGNORED)
    for row, lesson in enumerate(lessons):
        labels[row, : lesson["labels"].shape[1]] = lesson["labels"][0]
    return {**batch, "labels": labels}
