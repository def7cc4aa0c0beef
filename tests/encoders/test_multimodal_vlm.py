"""Small random vision-language models with their processors, against transformers' own pipeline, pair by pair."""

import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedTokenizerFast

from eotune.core.errors import InputError
from eotune.encoders.multimodal import load_pairs
from eotune.encoders.multimodal_vlm import VisionLanguageEncoder
from eotune.methods.by_name import create

TEXTS = [
    "many green trees stand beside a road",
    "ships on blue water",
    "how many red houses are there? there are twelve red houses, most of them beside the river",
    "a photo of a harbour",
    "is there a river? yes",
]
OTHERS = [
    ["many trees stand beside a road", "many green trees stand a"],
    ["on water", "ships on blue"],
    ["how many houses are there? there are twelve red houses, most them beside the river", "how many"],
    ["photo of harbour", "a photo of a harbour"],
    ["there a river?", "is a river? yes"],
]
CHAT = {
    "llava": "{% for m in messages %}USER: {% for c in m.content %}{% if c.type == 'image' %}<image>\n{% else %}"
    "{{ c.text }}{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}",
    "idefics3": "<s>{% for m in messages %}User:{% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}"
    "{{ c.text }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}Assistant:",
    "paligemma": None,
}
SPECIAL = {
    "llava": ["<image>"],
    "idefics3": ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"],
    "paligemma": ["<image>"],
}
LLM = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256,
    "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
}  # fmt: skip
VIT = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip


def tokenizer(special, *, more=False):
    """Byte pairs learnt from the texts: words fall into pieces that merge over borders."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as Decoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer

    base = Tokenizer(BPE(unk_token="<unk>"))
    base.pre_tokenizer, base.decoder = ByteLevel(add_prefix_space=False), Decoder()
    trainer = BpeTrainer(
        vocab_size=400, special_tokens=["<pad>", "<unk>", "<s>", "</s>"], initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    base.train_from_iterator([*TEXTS, "USER: \nASSISTANT: "] * 3, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=base, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    made.add_special_tokens({"additional_special_tokens": special})
    made.add_tokens(["beyond"] * more)
    return made


def built(family):
    """Return a model and its processor."""
    words = tokenizer(SPECIAL[family])
    token, chat = words.convert_tokens_to_ids("<image>"), CHAT[family]
    llm = LLM | {"vocab_size": len(words)}
    if family == "llava":
        images = transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
        processor = transformers.LlavaProcessor(
            images, words, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1,
            chat_template=chat,
        )  # fmt: skip
        config = transformers.LlavaConfig(
            vision_config=VIT | {"model_type": "clip_vision_model"}, text_config=llm | {"model_type": "llama"},
            image_token_index=token,
        )  # fmt: skip
    elif family == "idefics3":
        side = {"longest_edge": 32}
        images = transformers.Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size=side)
        processor = transformers.Idefics3Processor(images, words, image_seq_len=4, chat_template=chat)
        config = transformers.Idefics3Config(
            vision_config=VIT, text_config=llm | {"model_type": "llama"}, scale_factor=2, image_token_id=token,
            pad_token_id=0,
        )  # fmt: skip
    else:
        images = transformers.SiglipImageProcessorPil(size={"height": 32, "width": 32})
        images.image_seq_length = 16
        processor = transformers.PaliGemmaProcessor(images, words)
        llm["vocab_size"] = len(processor.tokenizer)
        config = transformers.PaliGemmaConfig(
            vision_config=VIT | {"model_type": "siglip_vision_model", "projection_dim": 32},
            text_config=llm | {"model_type": "gemma"}, image_token_index=token, projection_dim=32,
        )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return model.eval(), processor


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folder of each family, as transformers saves it."""
    root = tmp_path_factory.mktemp("vlm")
    for family in CHAT:
        for part in built(family):
            part.save_pretrained(root / family)
    return {family: root / family for family in CHAT}


@pytest.fixture(scope="module")
def encoders(folders):
    made = {}

    def load(family, **settings):
        key = (family, *sorted(settings.items()))
        return made.setdefault(key, load_pairs(f"vlm:{folders[family]}", **settings) if key not in made else None)

    return load


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(0)
    shapes = ((64, 64), (40, 90), (30, 20), (64, 32), (128, 100))
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]


@pytest.fixture(scope="module")
def theirs(folders):
    """Transformers' own states of a pair's text, one pair a pass; texts end the prompt."""
    before = {"llava": "USER: <image>\n", "idefics3": "<s>User:<image>", "paligemma": "<image>"}
    loaded = {}

    @torch.inference_mode()
    def states(family, image, text):
        if family not in loaded:
            folder = folders[family]
            model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
            loaded[family] = model, AutoProcessor.from_pretrained(folder, backend="pil")
        model, processor = loaded[family]
        prompt, picture = before[family] + text, Image.fromarray(image)
        call = {"images": [picture], "return_tensors": "np", "add_special_tokens": False}
        inputs = {
            name: torch.as_tensor(one) for name, one in processor(text=[prompt], **call).items() if name != "labels"
        }
        hidden = model(**inputs, output_hidden_states=True).hidden_states[-1][0]
        # Where the text begins: the processor's own prompt without it, up to where the two part.
        bare = processor(text=[before[family]], **call)
        same = [a == b for a, b in zip(inputs["input_ids"][0].tolist(), bare["input_ids"][0].tolist(), strict=False)]
        return hidden[(same.index(False) if False in same else len(same)) :].numpy()

    return states


def pooled(states, pool):
    return states.mean(0) if pool == "mean" else states[-1]


@pytest.mark.parametrize("pool", ["mean", "last"])
@pytest.mark.parametrize("family", CHAT)
def test_vectors_and_scores_are_those_of_two_plain_passes(family, pool, encoders, scenes, theirs):
    encoder = encoders(family, pool=pool)
    assert encoder.shares_prefix == (family != "paligemma")
    expected = np.stack([pooled(theirs(family, i, t), pool) for i, t in zip(scenes, TEXTS, strict=True)])
    vectors = encoder.pair_vectors(scenes, TEXTS, batch_size=2)
    np.testing.assert_allclose(vectors, expected, rtol=1e-3, atol=1e-4)
    moved = np.stack([[pooled(theirs(family, i, t), pool) for t in row] for i, row in zip(scenes, OTHERS, strict=True)])
    plain = np.linalg.norm(expected[:, None] - moved, axis=-1)
    scores = encoder.perturbed_distances(scenes, TEXTS, OTHERS, batch_size=3)
    assert (scores.dtype, scores.shape, vectors.shape) == (np.float32, (5, 2), (5, encoder.dim))
    assert scores[3, 1] == pytest.approx(0, abs=1e-4)  # nothing was deleted there
    plain[3, 1] = scores[3, 1] = 1
    assert (plain > 0.01).all()
    np.testing.assert_allclose(scores, plain, rtol=1e-3)


@pytest.mark.parametrize("family", CHAT)
def test_another_image_changes_every_score(family, encoders, scenes):
    encoder = encoders(family)
    first = encoder.perturbed_distances(scenes, TEXTS, [row[:1] for row in OTHERS])
    second = encoder.perturbed_distances(scenes[1:] + scenes[:1], TEXTS, [row[:1] for row in OTHERS])
    assert (np.abs(first - second) > 1e-3 * first).all()


@pytest.mark.parametrize("family", CHAT)
def test_batches_and_order_do_not_matter(family, encoders, scenes):
    encoder = encoders(family)
    expected = encoder.perturbed_distances(scenes, TEXTS, OTHERS)
    one_by_one = encoder.perturbed_distances(scenes[::-1], TEXTS[::-1], OTHERS[::-1], batch_size=1)[::-1]
    np.testing.assert_allclose(one_by_one, expected, rtol=1e-3, atol=1e-4)
    assert encoder.perturbed_distances([], [], []).shape == (0, 0)
    assert encoder.pair_vectors([], []).shape == (0, 32)


def test_vectors_can_be_of_unit_length_and_of_16_bits(encoders, scenes):
    plain = encoders("llava").pair_vectors(scenes, TEXTS)
    unit = encoders("llava", normalize=True).pair_vectors(scenes, TEXTS)
    np.testing.assert_allclose(unit, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-5)
    coarse = encoders("llava", precision="bf16")
    assert (coarse.model.dtype, coarse.shares_prefix) == (torch.bfloat16, True)
    close = coarse.pair_vectors(scenes, TEXTS)
    assert (np.linalg.norm(close - plain, axis=1) < 0.05 * np.linalg.norm(plain, axis=1)).all()
    marks = {one.fingerprint() for one in (encoders("llava"), encoders("llava", normalize=True), coarse)}
    assert len(marks) == 3


def test_long_texts_are_cut(encoders, scenes):
    encoder = encoders("llava", max_text_tokens=3)
    same = encoder.pair_vectors(scenes[:1] * 2, ["a photo of a harbour", "a photo of many ships"])
    np.testing.assert_allclose(same[0], same[1], atol=1e-5)
    (end,) = encoder.characters_read(["a photo of many ships"])
    assert "a photo of".startswith("a photo of many ships"[:end])
    assert encoder.characters_read(["a photo"])[0] == len("a photo")
    assert encoder.perturbed_distances(scenes[:1], ["a photo of a harbour"], [["a photo of ships"]])[0, 0] < 1e-4


@pytest.mark.parametrize("family", ["llava", "idefics3"])
def test_answers_are_transformers_own(family, encoders, scenes, folders):
    prompts, images = ["how many ships?", "is there a river?", "a", "what is there?"], [*scenes[:3], None]
    answers = encoders(family).generate(images, prompts, max_new_tokens=6, batch_size=2)
    model = AutoModelForImageTextToText.from_pretrained(folders[family], dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folders[family], backend="pil")
    for image, prompt, answer in zip(images, prompts, answers, strict=True):
        content = [{"type": "image"}] * (image is not None) + [{"type": "text", "text": prompt}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        pictures = {} if image is None else {"images": [Image.fromarray(image)]}
        inputs = processor(text=[text], return_tensors="pt", add_special_tokens=False, **pictures)
        ids = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert answer == processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert len(set(answers)) > 1
    assert encoders(family).generate([], []) == []


def test_a_blind_question_without_a_template_is_worded_as_with_an_image(folders, scenes):
    encoder = load_pairs(f"vlm:{folders['paligemma']}")
    words, text = encoder.processor.tokenizer, "is there a river?"
    seen, blind = (dict(encoder.prompts.question(image, text)) for image in (scenes[0], None))
    expected = words("<s>is there a river?\n", add_special_tokens=False)["input_ids"]
    assert blind["input_ids"].tolist() == [expected]
    assert blind.keys() == seen.keys() - {"pixel_values"}
    for name in blind:
        assert blind[name].tolist() == seen[name][:, -len(expected) :].tolist()
    with torch.inference_mode():
        ids = encoder.model.generate(**blind, max_new_tokens=6, do_sample=False)[0, len(expected) :]
    answers = encoder.generate([None, None, scenes[0]], [text, "a", text], max_new_tokens=6)
    assert answers[0] == words.decode(ids, skip_special_tokens=True).strip()


@pytest.mark.parametrize(
    "rule",
    [
        {"repetition_penalty": 1.9},
        {"num_beams": 3},
        {"no_repeat_ngram_size": 1},
        {"suppress_tokens": list(range(4, 300))},
        {"min_new_tokens": 6, "eos_token_id": list(range(4, 300))},
    ],
    ids=lambda rule: next(iter(rule)),
)
def test_answers_follow_the_likeliest_tokens_whatever_the_models_file_says(rule, folders, scenes, tmp_path):
    folder = shutil.copytree(folders["llava"], tmp_path / "llava")
    ends = {"eos_token_id": rule["eos_token_id"]} if "eos_token_id" in rule else {}
    answers = []
    for settings in (ends, rule):
        own = transformers.GenerationConfig(**{"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0} | settings)
        own.save_pretrained(folder)
        encoder = load_pairs(f"vlm:{folder}")
        answers.append(encoder.generate(scenes, TEXTS, max_new_tokens=6))
        assert encoder.model.generation_config.to_diff_dict() == own.to_diff_dict()
    assert answers[0] == answers[1]
    assert all(answers[0])


@pytest.mark.parametrize("family", CHAT)
def test_every_parameter_is_in_one_part(family, encoders):
    encoder = encoders(family)
    names = {name for name, _ in encoder.named_parameters()}
    owned = [
        name
        for paths in encoder.parts.values()
        for path in paths
        for name in names
        if f"{name}.".startswith(f"{path}.")
    ]
    assert sorted(owned) == sorted(names)
    assert all(encoder.parts.values())
    assert all("vision" in path for path in encoder.parts["vision"])
    assert not any("vision" in path for path in (*encoder.parts["projector"], *encoder.parts["language"]))


def test_lora_finds_its_layers_in_either_part(folders, scenes):
    for part, inside in (("image", "vision"), ("text", "language")):
        encoder = load_pairs(f"vlm:{folders['llava']}")
        before = encoder.pair_vectors(scenes, TEXTS)
        trained = create({"name": "lora", "rank": 2, "towers": part})._inject(encoder, 0)
        assert trained
        assert all(inside in name and ".lora_" in name for name in trained)
        np.testing.assert_allclose(encoder.pair_vectors(scenes, TEXTS), before, atol=1e-5)


def test_saved_and_loaded_again_it_is_the_same(encoders, scenes, tmp_path):
    encoder = encoders("idefics3")
    encoder.save(tmp_path)
    again = load_pairs(f"vlm:{tmp_path}")
    np.testing.assert_array_equal(again.pair_vectors(scenes, TEXTS), encoder.pair_vectors(scenes, TEXTS))
    assert again.fingerprint() == encoder.fingerprint()


def test_what_is_no_vision_language_model_is_refused(models, folders, tmp_path):
    with pytest.raises(InputError, match="clip: is a clip model, not a vision-language model"):
        load_pairs(f"vlm:{models['clip']}")
    with pytest.raises(InputError, match="nowhere: no such directory"):
        load_pairs(f"vlm:{tmp_path / 'nowhere'}")
    with pytest.raises(InputError, match="encoder 'vlm:'; write for instance"):
        load_pairs("vlm:")
    without = shutil.copytree(folders["llava"], tmp_path / "llava")
    (without / "processor_config.json").unlink()
    with pytest.raises(InputError, match="llava: no (processor could be read|image processor)"):
        load_pairs(f"vlm:{without}")


def test_another_models_tokenizer_is_refused(folders, tmp_path):
    mixed = shutil.copytree(folders["llava"], tmp_path / "mixed")
    tokenizer(["<image>", *(f"<{number}>" for number in range(50))], more=True).save_pretrained(mixed)
    with pytest.raises(
        InputError, match=r"mixed: the tokenizer numbers words up to \d+, but the model knows \d+ tokens"
    ):
        load_pairs(f"vlm:{mixed}")


def test_wrong_pairs_are_refused(encoders, scenes):
    encoder = encoders("llava")
    with pytest.raises(InputError, match="holds '<image>', which stands for an image; take it out"):
        encoder.pair_vectors(scenes[:1], ["<image> ships"])
    with pytest.raises(InputError, match="holds '<image>'"):
        encoder.perturbed_distances(scenes[:1], ["ships"], [["<image>"]])
    with pytest.raises(InputError, match=r"an image of shape \(0, 4, 3\) cannot be prepared"):
        encoder.pair_vectors([np.zeros((0, 4, 3), np.uint8)], ["ships"])
    with pytest.raises(InputError, match="text 0 is empty"):
        encoder.generate(scenes[:1], [""])


@pytest.mark.parametrize("family", ["llava", "idefics3"])
def test_images_are_processed_once(family, encoders, scenes, monkeypatch):
    encoder, seen = encoders(family), []
    processed = encoder.prompts._processed
    monkeypatch.setattr(encoder.prompts, "_processed", lambda *given: seen.append(given) or processed(*given))
    assert encoder.shares_prefix
    seen.clear()
    encoder.perturbed_distances(scenes, TEXTS, OTHERS)
    assert len(seen) == len(scenes)


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
def test_a_processor_that_needs_torchvision_says_so(tmp_path):
    words = tokenizer(["<|image_pad|>", "<|video_pad|>"])
    vision = {"depth": 1, "embed_dim": 8, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 1}
    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}
    config = transformers.Qwen2VLConfig(vision_config=vision, text_config=LLM | rope | {"vocab_size": len(words)})
    for part in (words, transformers.Qwen2VLImageProcessorPil(), AutoModelForImageTextToText.from_config(config)):
        part.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"needs torchvision; run: pip install 'eotune\[interop\]'"):
        load_pairs(f"vlm:{tmp_path}")


def test_a_broken_chat_template_is_refused(folders):
    model, processor = built("llava")
    for template, message in (("{{ nothing.at.all }}", "template fails"), ("<image>", "drops the user's text")):
        processor.chat_template = template
        with pytest.raises(InputError, match=message):
            VisionLanguageEncoder(model, processor)
    processor.chat_template = "{{ messages[0].content[1].text }}"
    with pytest.raises(InputError, match="puts no image before the text"):
        VisionLanguageEncoder(model, processor)
