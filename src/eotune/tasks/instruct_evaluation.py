"""A vision-language model asked the questions of a set, with their images and without."""

from collections.abc import Mapping, Sequence

import numpy as np

from eotune.core.progress import progress
from eotune.data.cache import ImageCache
from eotune.encoders.base import autocast
from eotune.encoders.multimodal_vlm import VisionLanguageEncoder
from eotune.tasks.instruct import Conversation
from eotune.tasks.instruct_answers import Judged, kind_of_question, matches

_WINDOW = 8  # batches whose images are in memory together


def answers(
    encoder: VisionLanguageEncoder,
    samples: Sequence[Conversation],
    images: ImageCache | None,
    *,
    batch_size: int,
    max_new_tokens: int,
    precision: str = "fp32",
    description: str = "answering",
) -> list[str]:
    """Return the model's answer to the first question of each sample.

    Args:
        encoder: The model.
        samples: What is asked.
        images: That of each; None asks without, the blind baseline.
        batch_size: Questions at once.
        max_new_tokens: Longest answer.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        description: For the progress bar.

    Raises:
        InputError: An image cannot be read, or a question cannot be asked.
    """
    found: list[str] = []
    size = batch_size * _WINDOW
    with autocast(encoder.device, precision):
        for start in progress(range(0, len(samples), size), description=description):
            window = range(start, min(start + size, len(samples)))
            seen: list[np.ndarray | None] = [None if images is None else images[index] for index in window]
            asked = [samples[index].question for index in window]
            found += encoder.generate(seen, asked, max_new_tokens=max_new_tokens, batch_size=batch_size)
    return found


def judge(samples: Sequence[Conversation], given: Sequence[str], kinds: Mapping[str, str]) -> Judged:
    """Hold answers against the samples' own; how, goes by the reference, whatever its kind is called.

    Args:
        samples: With the references.
        given: An answer to each one's first question.
        kinds: The task's own kinds of question.
    """
    found = [kind_of_question(one.question, one.answer, kinds) for one in samples]
    numbers = {image: number for number, image in enumerate(dict.fromkeys(one.image for one in samples))}
    correct = [
        matches(answer, one.answer, kind_of_question(one.question, one.answer))
        for answer, one in zip(given, samples, strict=True)
    ]
    return Judged(np.array(correct), found, np.array([numbers[one.image] for one in samples]))
