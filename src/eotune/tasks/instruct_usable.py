"""Which conversations a vision-language model can be asked and taught: told before it trains, not in the middle."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from eotune.core.errors import InputError
from eotune.core.progress import progress
from eotune.tasks.instruct import Conversation, InstructSet
from eotune.tasks.instruct_inputs import Lessons


def usable(asked: InstructSet, sizes: Mapping[Path, tuple[int, int]], lessons: Lessons, *, taught: bool) -> InstructSet:
    """Return a set without the conversations that the model's processor refuses.

    Images are not read again: what a processor makes of one depends on its size.

    Args:
        asked: The set.
        sizes: Height and width of each image.
        lessons: Of the model.
        taught: Whether answers are learnt or their likelihood is measured: conversations whose prompt alone takes all
            tokens are then left out too, and those that lose the end of an answer are counted.

    Raises:
        InputError: None is left.
    """
    kept, problems, cut = list[Conversation](), list[str](), 0
    for sample in progress(asked.samples, description=f"counting tokens of {asked.source.stem}"):
        try:
            is_cut = _check(sample, sizes[sample.image], lessons, taught=taught)
        except InputError as error:
            problems.append(f"sample {sample.id}: {error}")
        else:
            kept.append(sample)
            cut += is_cut
    if not kept:
        raise InputError(f"{asked.source}: none of {len(asked):,} samples can be used; the first: {problems[0]}")
    return replace(asked, samples=tuple(kept), left_out=(*asked.left_out, *problems), cut=cut)


def _check(sample: Conversation, size: tuple[int, int], lessons: Lessons, *, taught: bool) -> bool:
    """Return whether what is taught is cut.

    Raises:
        InputError: The sample cannot be used.
    """
    if taught:
        return (
            not lessons.surely_fits(size, sample.exchanges)
            and lessons.length(size, sample.exchanges) > lessons.max_tokens
        )
    lessons.prompts.check(sample.question)
    lessons.prompts.added_tokens(size)
    return False
