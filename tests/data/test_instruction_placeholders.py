import pytest

from eotune.data.instruction_placeholders import PLACEHOLDER, without_placeholders


@pytest.mark.parametrize(
    "mark",
    ["<image>", "<ImageHere>", "<|image|>", "<|image_1|>", "<image 2>", "<image_3>", "<image_soft_token>", "[IMG]",
     "<|image_pad|>", "<|vision_start|><|image_pad|><|image_pad|><|vision_end|>", "<img>a/b 1.png</img>",
     "<img><IMG_CONTEXT><IMG_CONTEXT></img>", "<Img><ImageHere></Img>", "<start_of_image>", "<row_1_col_12>",
     "<im_start><im_patch><im_end>", "<image_placeholder>"],
)  # fmt: skip
def test_one_image_is_one_place(mark):
    assert PLACEHOLDER.findall(f"Where{mark}is it?") == [mark]
    assert without_placeholders(f"{mark}\nWhere \n{mark} is it?  ") == "Where is it?"
    assert without_placeholders(mark) == ""


@pytest.mark.parametrize("text", ["a [grounding] of {<4><45>}", "<p>image</p>", "[INST] a", "an <images> tag", ""])
def test_other_marks_are_text(text):
    assert without_placeholders(text) == text


def test_two_images_are_two_places():
    assert len(PLACEHOLDER.findall("<image><image>")) == 2


@pytest.mark.parametrize("part", [" ", "<img>", "<img", "<|vision_start|>", "<row_", "<Img><ImageHere>"])
def test_long_texts_take_no_longer_than_their_length_allows(part):
    assert len(without_placeholders(f"a{part * 50_000}b")) >= 2
