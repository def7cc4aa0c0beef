"""Lessons against transformers' own pipeline: prompts are those of generation, and only answers are taught."""

import numpy as np
import pytest
import torch

from eotune.core.errors import InputError
from eotune.encoders.multimodal_vlm import VisionLanguageEncoder, load_vlm
from eotune.tasks.instruct_inputs import IGNORED, Lessons, collate_lessons
from eotune.tasks.instruct_training import Taught

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
TALK = (("is there a river?", "yes"), ("which of the two?", "the dark one"))
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'image' %}<image>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def encoder(llava):
    return load_vlm(str(llava))


def taught(encoder, lesson):
    """Return what is taught, as text; a bar where something else lies between."""
    labels = lesson["labels"][0].tolist()
    runs, inside = [], False
    for label in labels:
        if label != IGNORED:
            runs = [*runs[:-1], [*runs[-1], label]] if inside else [*runs, [label]]
        inside = label != IGNORED
    return "|".join(encoder.prompts.tokenizer.decode(run) for run in runs)


def test_answers_and_their_ends_are_taught(encoder):
    lesson = Lessons(encoder, 200).lesson(IMAGE, TALK)
    assert taught(encoder, lesson) == " yes</s>| the dark one</s>"
    text = encoder.prompts.tokenizer.decode(lesson["input_ids"][0])
    assert text == (
        "USER: " + "<image>" * 4 + "\nis there a river? ASSISTANT: yes</s>USER: which of the two? ASSISTANT: the dark "
        "one</s>"
    )
    assert lesson["attention_mask"].all()
    kept = lesson["labels"] != IGNORED
    assert (lesson["labels"][kept] == lesson["input_ids"][kept]).all()


def test_a_lesson_begins_with_the_prompt_that_is_answered(encoder):
    asked = encoder.prompts.question(IMAGE, TALK[0][0])
    lesson = Lessons(encoder, 200).lesson(IMAGE, TALK[:1])
    length = asked["input_ids"].shape[1]
    torch.testing.assert_close(lesson["input_ids"][:, :length], asked["input_ids"])
    assert (lesson["labels"][0, :length] == IGNORED).all()
    assert (lesson["labels"][0, length:] != IGNORED).all()


def test_a_template_that_ends_answers_is_taken_at_its_word(llava, byte_pairs):
    encoder = load_vlm(str(llava))
    encoder.processor.tokenizer.add_special_tokens({"additional_special_tokens": ["<image>", "<|im_end|>"]})
    encoder.processor.chat_template = CHATML
    end = encoder.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    encoder.model.generation_config.eos_token_id = [end, 3]
    again = VisionLanguageEncoder(encoder.model, encoder.processor)
    assert taught(again, Lessons(again, 300).lesson(IMAGE, TALK)) == "yes<|im_end|>|the dark one<|im_end|>"


def test_without_a_template_the_first_answer_follows_the_question(llava):
    encoder = load_vlm(str(llava))
    encoder.processor.chat_template = None
    plain = VisionLanguageEncoder(encoder.model, encoder.processor)
    assert taught(plain, Lessons(plain, 200).lesson(IMAGE, TALK)) == "yes</s>"


def test_what_goes_beyond_is_cut_off(encoder):
    whole = Lessons(encoder, 200).lesson(IMAGE, TALK)
    cut = Lessons(encoder, 30).lesson(IMAGE, TALK)
    assert cut["input_ids"].shape == cut["labels"].shape == (1, 30)
    torch.testing.assert_close(cut["labels"][0], whole["labels"][0, :30])


def test_a_prompt_that_leaves_no_room_for_an_answer_is_refused(encoder):
    start = encoder.prompts.question(IMAGE, TALK[0][0])["input_ids"].shape[1]
    one = Lessons(encoder, start + 1).lesson(IMAGE, TALK)
    assert taught(encoder, one) == " yes"
    for method, image in (("lesson", IMAGE), ("length", IMAGE.shape[:2])):
        with pytest.raises(
            InputError, match=f"prompt alone takes {start} tokens, and task.max_tokens is {start}; raise"
        ):
            getattr(Lessons(encoder, start), method)(image, TALK)


@pytest.mark.parametrize("size", [(40, 50), (50, 40), (8, 90)])
def test_lengths_are_those_of_lessons(encoder, byte_pairs, size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    for one in (encoder, paligemma(byte_pairs)):
        lessons = Lessons(one, 1000)
        for talk in (TALK, TALK[1:], (("Où? ", " à\n gauche"),)):
            length = lessons.lesson(image, talk)["input_ids"].shape[1]
            assert lessons.length(size, talk) == length
            assert not Lessons(one, length - 1).surely_fits(size, talk)
            assert lessons.surely_fits(size, talk)


def test_the_loss_is_transformers_own_and_parts_add_up(encoder):
    lessons = [Lessons(encoder, 200).lesson(IMAGE, talk) for talk in (TALK, TALK[:1], TALK[1:])]
    module = Taught(encoder).eval()
    with torch.inference_mode():
        whole = module(**collate_lessons(lessons, 0))
        theirs = []
        for lesson in lessons:
            mean = encoder.model(**lesson).loss
            theirs.append(mean * (lesson["labels"] != IGNORED).sum())
        torch.testing.assert_close(whole, sum(theirs), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            whole, sum(module(**collate_lessons([one], 0)) for one in lessons), rtol=1e-4, atol=1e-4
        )


def test_nothing_sees_the_answers_after_it(encoder, byte_pairs):
    """Also of PaliGemma, whose prompt is seen in both directions."""
    for one in (encoder, paligemma(byte_pairs)):
        lesson = Lessons(one, 200).lesson(IMAGE, TALK[:1])
        changed = {name: tensor.clone() for name, tensor in lesson.items()}
        labels = changed.pop("labels")
        changed["input_ids"][0, -1] = 5
        first = int((labels[0] != IGNORED).nonzero()[0, 0])
        with torch.inference_mode():
            logits = [
                one.model(**{name: tensor for name, tensor in each.items() if name != "labels"}).logits[0]
                for each in (lesson, changed)
            ]
        torch.testing.assert_close(logits[0][first - 1 : -1], logits[1][first - 1 : -1], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(logits[0][-1], logits[1][-1], rtol=1e-3)


def paligemma(byte_pairs):
    import transformers

    images = transformers.SiglipImageProcessorPil(size={"height": 32, "width": 32})
    images.image_seq_length = 4
    processor = transformers.PaliGemmaProcessor(images, byte_pairs("<image>"))
    shared = {"num_hidden_layers": 2, "num_attention_heads": 2}
    words = len(processor.tokenizer)
    config = transformers.PaliGemmaConfig(
        vision_config=shared | {"model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 24,
                                "image_size": 32, "patch_size": 16, "projection_dim": 32},
        text_config=shared | {"model_type": "gemma", "hidden_size": 32, "intermediate_size": 48, "head_dim": 16,
                              "num_key_value_heads": 1, "vocab_size": words, "pad_token_id": 0, "eos_token_id": 3},
        image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"), projection_dim=32,
    )  # fmt: skip
    torch.manual_seed(0)
    return VisionLanguageEncoder(transformers.PaliGemmaForConditionalGeneration(config).eval(), processor)


def test_a_template_that_rewrites_itself_is_refused(llava):
    encoder = load_vlm(str(llava))
    lessons = Lessons(encoder, 200)
    encoder.processor.chat_template = "{{ messages | length }}" + encoder.processor.chat_template
    with pytest.raises(InputError, match="writes a conversation anew with every turn"):
        lessons.lesson(IMAGE, TALK)
