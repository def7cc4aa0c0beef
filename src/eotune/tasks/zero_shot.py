"""Zero-shot scene classification: images against class names in prompts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eotune.core.errors import InputError
from eotune.core.progress import progress
from eotune.data.images import read_image
from eotune.data.labelled import LabelledSet
from eotune.encoders.base import DualEncoder


def class_name(label: str) -> str:
    """Return a label as words.

    Example:
        >>> class_name("DenseResidential"), class_name("storage_tanks")
        ('dense residential', 'storage tanks')
    """
    spaced = "".join(f" {c}" if c.isupper() and i and not label[i - 1].isupper() else c for i, c in enumerate(label))
    return " ".join(spaced.replace("_", " ").replace("-", " ").lower().split())


def evaluate_zero_shot(
    encoder: DualEncoder,
    labelled: LabelledSet,
    *,
    templates: Sequence[str],
    batch_size: int = 128,
    precision: str = "fp32",
) -> dict[str, Any]:
    """Classify each image by its nearest class prompt.

    Args:
        encoder: The model.
        labelled: The images; every class of theirs is a candidate.
        templates: Prompts with ``{}`` for the class; their unit embeddings are averaged (arXiv 2103.00020, sec. 3.1.4).
        batch_size: Images at once.
        precision: ``fp32``, ``bf16`` or ``fp16``.

    Returns:
        ``accuracy`` in per cent and ``per_class_accuracy``, its mean over classes; ``classes`` and ``images`` count.

    Raises:
        InputError: A template has no ``{}``, or an image cannot be read.
    """
    for template in templates:
        if "{}" not in template:
            raise InputError(f"template {template!r} has no {{}}", remedy="write for instance 'an aerial photo of {}'")
    names, paths, truth = labelled.classes, labelled.paths(), labelled.labels
    prompts = [template.replace("{}", class_name(name)) for name in names for template in templates]
    vectors = encoder.embed_texts(prompts, precision=precision).reshape(len(names), len(templates), -1).mean(1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    predicted = np.empty(len(labelled), np.int64)
    for start in progress(range(0, len(labelled), batch_size), description="classifying"):
        chunk = [read_image(path) for path in paths[start : start + batch_size]]
        embedded = encoder.embed_images(chunk, batch_size=batch_size, precision=precision)
        predicted[start : start + len(chunk)] = (embedded @ vectors.T).argmax(1)
    right = predicted == truth
    return {
        "accuracy": 100 * float(right.mean()),
        "per_class_accuracy": 100 * float(np.mean([right[truth == k].mean() for k in np.unique(truth)])),
        "classes": len(names),
        "images": len(labelled),
    }
