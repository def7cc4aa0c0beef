"""The marks by which texts say where an image stands, of every model family in use."""

import re

_BRACKETED = (  # brackets with what may stand between them are one place
    r"<img>[^<>\n]*(?:<IMG_CONTEXT>)*</img>",  # Qwen-VL, with the name of the file; InternVL
    r"<Img>(?:<ImageHere>)*</Img>",  # MiniGPT-4
    r"<\|vision_start\|>(?:<\|image_pad\|>)*<\|vision_end\|>",  # Qwen2-VL and after
    r"<start_of_image>(?:<image_soft_token>)*<end_of_image>",  # Gemma 3
    r"<im_start>(?:<im_patch>)*<im_end>",  # the first LLaVA
)
_NUMBERED = (
    r"<\|?image[_ ]?\d+\|?>",  # Phi-3-vision, MMMU
    r"<row_\d+_col_\d+>",  # Idefics3, as its processor writes it
)
_PLAIN = (
    "<image>",  # LLaVA, Idefics3, SmolVLM, PaliGemma; LLaMA-Factory, ms-swift
    "<ImageHere>",  # InternLM-XComposer
    "<|image|>",  # Llama 3.2
    "<image_placeholder>",  # DeepSeek-VL, Janus
    "[IMG]", "[IMG_BREAK]", "[IMG_END]",  # Pixtral, Mistral 3
    "<fake_token_around_image>", "<global-img>",  # Idefics3
    "<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|vision_pad|>",
    "<start_of_image>", "<image_soft_token>", "<end_of_image>",
    "<img>", "</img>", "<Img>", "</Img>", "<IMG_CONTEXT>", "<im_start>", "<im_patch>", "<im_end>",
)  # fmt: skip

PLACEHOLDER = re.compile("|".join([*_BRACKETED, *_NUMBERED, *map(re.escape, _PLAIN)]))


def without_placeholders(text: str) -> str:
    r"""Return a text without image placeholders, and without the white space round them.

    Example:
        >>> without_placeholders("<image>\nWhich of <image> and <|image_pad|> is newer?")
        'Which of and is newer?'
    """
    parts = (part.strip() for part in PLACEHOLDER.split(text))
    return " ".join(part for part in parts if part)
