"""From an image and a text to a vision-language model's inputs: its processor and its chat template."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from eotune.core.errors import InputError, shown
from eotune.encoders.multimodal_inputs import TOKENS, PairInput
from eotune.encoders.pretrained import first_line, quiet

_HERE = "TEXT-GOES-HERE"


class Prompts:
    """Writes a model's prompts.

    For vectors the text stands where a user's words stand in the chat template and ends the prompt: what the template
    puts behind it is the same for all texts. Without a template it follows the image.

    Args:
        processor: Of transformers.
        image_token_id: The token that stands for (a patch of) an image in the model's input.
        source: For messages.

    Attributes:
        pad_id: The token that fills batches up.
    """

    def __init__(self, processor: Any, image_token_id: int, source: str) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.image_token_id = image_token_id
        pad = self.tokenizer.pad_token_id
        self.pad_id = int((self.tokenizer.eos_token_id or 0) if pad is None else pad)
        # What stands for an image in text; Gemma 3's is not the token that it becomes.
        names = (getattr(processor, name, None) for name in ("boi_token", "image_token"))
        self._placeholders = [name for name in names if isinstance(name, str)]
        self._before, self._after = self._around(source, image=True)
        self._placeholder = max(self._placeholders, key=self._before.rfind, default="")
        if not self._placeholder or self._placeholder not in self._before:
            raise InputError(
                f"{source}: the processor puts no image before the text", remedy="name a model of one image and a text"
            )
        # What stands between the image and any text, as tokens.
        blank = self._processed(np.zeros((64, 64, 3), np.uint8), self._before)["input_ids"][0].tolist()
        self._between = blank[self._behind(blank, self.image_token_id) :]
        self._added: dict[tuple[int, int], int] = {}  # by an image's height and width

    def pair(self, image: np.ndarray, text: str) -> PairInput:
        """Return the inputs for an image, uint8 ``(h, w, 3)``, and a text.

        Raises:
            InputError: The text holds the image's placeholder, or the processor refuses the image.
        """
        self.check(text)
        tensors = self._processed(image, self._before + text)
        return PairInput(tensors, self._text_start(tensors["input_ids"][0].tolist()))

    def reworded(self, pair: PairInput, image: np.ndarray, old: str, new: str) -> PairInput:
        """Return ``pair``, which :meth:`pair` made of ``image`` and ``old``, with the text ``new`` instead.

        The image is not processed again, unless the processor adds more to a text than its tokens.

        Raises:
            InputError: As for :meth:`pair`.
        """
        self.check(new)
        replaced, tail = self._tail(old), self._tail(new)
        start = len(pair) - len(replaced)
        if pair.ids[start:].tolist() != replaced:
            return self.pair(image, new)
        return pair.with_tail(start, tail, self._text_start([*pair.ids[:start].tolist(), *tail]))

    def question(self, image: np.ndarray | None, text: str) -> Mapping[str, Tensor]:
        """Return the inputs from which a model answers ``text``; None for a question without an image.

        Raises:
            InputError: As for :meth:`pair`.
        """
        self.check(text)
        if image is not None:
            return self._processed(image, self._before + text + self._after)
        if not getattr(self.processor, "chat_template", None):
            return self._without_image(self._processed(np.zeros((64, 64, 3), np.uint8), self._before + text))
        before, after = self._around("", image=False)
        prompt = before + text + after
        tokens = self.tokenizer([prompt], return_tensors="pt", **self._options(prompt))
        return {name: tokens[name] for name in ("input_ids", "attention_mask")}

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a question's prompt, in which an image is its placeholder alone.

        Raises:
            InputError: The text holds the image's placeholder.
        """
        self.check(text)
        return self._tokens(self._before + text + self._after)

    def added_tokens(self, size: tuple[int, int]) -> int:
        """Return how many tokens an image of this height and width adds to :meth:`tokens`; one of each is prepared.

        Raises:
            InputError: The processor refuses such an image.
        """
        if size not in self._added:
            whole = self.question(np.zeros((*size, 3), np.uint8), "?")["input_ids"].shape[1]
            self._added[size] = whole - len(self.tokens("?"))
        return self._added[size]

    def check(self, text: str) -> None:
        """Refuse a text that holds the image's placeholder.

        Raises:
            InputError: It does.
        """
        for placeholder in self._placeholders:
            if placeholder in text:
                raise InputError(
                    f"text {shown(text)} holds {placeholder!r}, which stands for an image", remedy="take it out"
                )

    def _without_image(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a prompt without its image's tokens: what the processor puts round a text stays (PaliGemma's do)."""
        kept = tensors["input_ids"][0] != self.image_token_id
        return {name: tensors[name][:, kept] for name in TOKENS if name in tensors}

    def _around(self, source: str, *, image: bool) -> tuple[str, str]:
        """Return what stands before and, where an answer is to follow, behind a text."""
        if not getattr(self.processor, "chat_template", None):
            return (self._placeholders[-1] if self._placeholders else ""), ""
        content = [{"type": "image"}] * image + [{"type": "text", "text": _HERE}]
        try:
            prompt = self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
        except Exception as error:  # a template is a program
            raise InputError(
                f"{source}: the chat template fails ({first_line(error)})", remedy="take the model's own files"
            ) from None
        before, found, after = prompt.partition(_HERE)
        if not found:
            raise InputError(f"{source}: the chat template drops the user's text", remedy="take the model's own files")
        return before, after

    def _options(self, prompt: str) -> dict[str, Any]:
        """Keep the tokenizer from adding a token for the beginning to a template that has it."""
        first = self.tokenizer.bos_token
        return {"add_special_tokens": False} if first and prompt.startswith(first) else {}

    def _tokens(self, prompt: str) -> list[int]:
        """Return a prompt's tokens as the tokenizer alone makes them: an image is its placeholder."""
        ids: list[int] = self.tokenizer([prompt], **self._options(prompt))["input_ids"][0]
        return ids

    def _processed(self, image: np.ndarray, prompt: str) -> dict[str, Tensor]:
        try:
            with quiet():
                found = self.processor(
                    images=[Image.fromarray(image)], text=[prompt], return_tensors="np", **self._options(prompt)
                )
        except (ValueError, TypeError, IndexError, RuntimeError, ZeroDivisionError) as error:
            raise InputError(
                f"an image of shape {np.shape(image)} cannot be prepared ({first_line(error)})",
                remedy="leave it out, or convert it to RGB of 8 bits and a usual shape",
            ) from None
        return {name: torch.as_tensor(value) for name, value in found.items() if name != "labels"}

    def _tail(self, text: str) -> list[int]:
        """Return the tokens behind the image's placeholder, as the tokenizer alone makes them."""
        ids = self._tokens(self._before + text)
        return ids[self._behind(ids, self.tokenizer.convert_tokens_to_ids(self._placeholder)) :]

    def _text_start(self, ids: list[int]) -> int:
        start = self._behind(ids, self.image_token_id)
        for expected, found in zip(self._between, ids[start:], strict=False):
            if expected != found:
                break
            start += 1
        return start

    @staticmethod
    def _behind(ids: list[int], token: int) -> int:
        """Return the index behind the last ``token``; 0 where there is none."""
        return len(ids) - ids[::-1].index(token) if token in ids else 0
