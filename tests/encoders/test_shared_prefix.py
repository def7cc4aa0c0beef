"""Against two plain passes, sample by sample, by transformers' own call of each family."""

import numpy as np
import pytest
import torch
import transformers

from eotune.encoders.multimodal_inputs import PairInput
from eotune.encoders.shared_prefix import shared_prefix_vectors, shares_prefix, text_vectors

IMAGE, WORDS = 60, 50  # the placeholder's id; texts are drawn from the ids below
LLM = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 64, "head_dim": 8, "max_position_embeddings": 128,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
VIT = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16,
    "patch_size": 4,
}  # fmt: skip
MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}
TOKENS = {"image_token_id": IMAGE, "video_token_id": 61, "vision_start_token_id": 62, "vision_end_token_id": 63}


def llava(**more):
    config = transformers.LlavaConfig(
        vision_config=VIT | {"model_type": "clip_vision_model"}, text_config=LLM | {"model_type": "llama"} | more,
        image_token_index=IMAGE, vision_feature_layer=-2,
    )  # fmt: skip
    return transformers.LlavaForConditionalGeneration(config)


def idefics3(kind="Idefics3"):
    config = getattr(transformers, f"{kind}Config")(
        vision_config=VIT,
        text_config=LLM | {"model_type": "llama"},
        scale_factor=2,
        image_token_id=IMAGE,
        pad_token_id=0,
    )
    return getattr(transformers, f"{kind}ForConditionalGeneration")(config)


def qwen2():
    vision = {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 4}
    config = transformers.Qwen2VLConfig(vision_config=vision, text_config=LLM | MROPE, **TOKENS)
    return transformers.Qwen2VLForConditionalGeneration(config)


def qwen2_5():
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 24, "out_hidden_size": 32, "num_heads": 2, "patch_size": 4,
        "window_size": 16, "fullatt_block_indexes": [1],
    }  # fmt: skip
    config = transformers.Qwen2_5_VLConfig(vision_config=vision, text_config=LLM | MROPE, **TOKENS)
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def qwen3():
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 24, "out_hidden_size": 32, "num_heads": 2, "patch_size": 4,
        "deepstack_visual_indexes": [0], "num_position_embeddings": 16,
    }  # fmt: skip
    config = transformers.Qwen3VLConfig(vision_config=vision, text_config=LLM | MROPE, **TOKENS)
    return transformers.Qwen3VLForConditionalGeneration(config)


def internvl():
    vision = VIT | {"image_size": [16, 16], "patch_size": [4, 4]}
    config = transformers.InternVLConfig(
        vision_config=vision, text_config=LLM | {"model_type": "qwen2"}, image_token_id=IMAGE, image_seq_length=4
    )
    return transformers.InternVLForConditionalGeneration(config)


def paligemma():
    config = transformers.PaliGemmaConfig(
        vision_config=VIT | {"model_type": "siglip_vision_model", "projection_dim": 32},
        text_config=LLM | {"model_type": "gemma"}, image_token_index=IMAGE, projection_dim=32,
    )  # fmt: skip
    return transformers.PaliGemmaForConditionalGeneration(config)


def gemma3():
    config = transformers.Gemma3Config(
        vision_config=VIT | {"model_type": "siglip_vision_model", "vision_use_head": False},
        text_config=LLM | {"query_pre_attn_scalar": 8}, image_token_index=IMAGE, mm_tokens_per_image=4,
    )  # fmt: skip
    return transformers.Gemma3ForConditionalGeneration(config)


# Family: how it is built, its pixels' shape, its number of image tokens, its other arguments.
SQUARE = (1, 3, 16, 16)
FAMILIES = {
    "llava": (llava, SQUARE, 16, {}),
    "idefics3": (idefics3, (1, *SQUARE), 4, {}),
    "smolvlm": (lambda: idefics3("SmolVLM"), (1, *SQUARE), 4, {}),
    "qwen2_vl": (qwen2, (24, 96), 6, {"image_grid_thw": [[1, 6, 4]]}),
    "qwen2_5_vl": (qwen2_5, (24, 96), 6, {"image_grid_thw": [[1, 6, 4]]}),
    "qwen3_vl": (qwen3, (24, 96), 6, {"image_grid_thw": [[1, 6, 4]]}),
    "internvl": (internvl, SQUARE, 4, {}),
    "gemma3": (gemma3, SQUARE, 4, {"token_type_ids": "image"}),
    "paligemma": (paligemma, SQUARE, 16, {"token_type_ids": "text"}),
}
CAUSAL = sorted(set(FAMILIES) - {"paligemma"})


def drawn(model):
    """Draw every parameter anew, wide enough that a mix-up shows."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


@pytest.fixture(scope="module")
def model():
    made = {}
    return lambda family: made.setdefault(family, drawn(FAMILIES[family][0]()).model)


def pair(family, image, text):
    """A bos token, the image, and the text's tokens."""
    _, shape, count, more = FAMILIES[family]
    ids = torch.tensor([[1, *[IMAGE] * count, *text]])
    generator = torch.Generator().manual_seed(image)
    pixels = torch.randn(shape, generator=generator)
    tensors = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}
    kinds = (ids == IMAGE).long()
    if "image_grid_thw" in more:
        tensors |= {"image_grid_thw": torch.tensor(more["image_grid_thw"]), "mm_token_type_ids": kinds}
    if "token_type_ids" in more:
        tensors["token_type_ids"] = kinds if more["token_type_ids"] == "image" else torch.zeros_like(ids)
    return PairInput(tensors, 1 + count)


@torch.inference_mode()
def alone(model, pair, pool):
    """One pass over one sample, without cache or padding."""
    states = model(**pair.tensors, use_cache=False).last_hidden_state[0, pair.text_start :]
    return (states.mean(0) if pool == "mean" else states[-1]).numpy()


def samples():
    """Texts of 3 to 12 tokens, and of each three others: tokens deleted early, at the end, and nowhere."""
    rng = np.random.default_rng(0)
    texts = [rng.integers(3, WORDS, length).tolist() for length in (3, 12, 7, 9)]
    return texts, [[text[:1] + text[3:] or text[:2], text[:-2], text] for text in texts]


@pytest.mark.parametrize("pool", ["mean", "last"])
@pytest.mark.parametrize("family", CAUSAL)
def test_vectors_are_those_of_plain_passes(family, pool, model):
    texts, others = samples()
    pairs = [pair(family, image, text) for image, text in enumerate(texts)]
    perturbed = [
        [one.with_tail(one.text_start, text, one.text_start) for text in row]
        for one, row in zip(pairs, others, strict=True)
    ]
    vectors, repeats = shared_prefix_vectors(model(family), pairs, perturbed, pool)
    expected = np.stack([alone(model(family), one, pool) for one in pairs])
    theirs = np.stack(
        [[alone(model(family), pair(family, image, text), pool) for text in row] for image, row in enumerate(others)]
    )
    np.testing.assert_allclose(vectors, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(repeats, theirs, rtol=1e-3, atol=1e-4)
    scores = np.linalg.norm(vectors[:, None] - repeats, axis=-1)
    plain = np.linalg.norm(expected[:, None] - theirs, axis=-1)
    np.testing.assert_allclose(scores[:, :2], plain[:, :2], rtol=1e-3)
    assert (plain[:, :2] > 0.01).all()
    np.testing.assert_allclose(scores[:, 2], 0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_another_image_changes_every_score(family, model):
    texts, others = samples()
    scores = []
    for first in (0, 10):
        pairs = [pair(family, first + image, text) for image, text in enumerate(texts)]
        changed = [pair(family, first + image, row[0]) for image, row in enumerate(others)]
        vectors = [text_vectors(model(family), inputs, "mean") for inputs in (pairs, changed)]
        scores.append((vectors[0] - vectors[1]).norm(dim=1).numpy())
    assert (np.abs(scores[0] - scores[1]) > 1e-3 * scores[0]).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_which_families_share(family, model):
    pairs = [pair(family, 0, text) for text in (list(range(3, 15)), list(range(5, 15)))]
    assert shares_prefix(model(family), *pairs) == (family in CAUSAL)


@pytest.mark.parametrize("width", [None, 0.02, 0.2])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_16_bits_tell_the_same_families_apart(kind, family, width):
    """Also of small weights, as drawn at the start: a prefix that sees what follows moves the text's vectors little."""
    torch.manual_seed(1)
    built = FAMILIES[family][0]()
    for parameter in built.parameters() if width else ():
        torch.nn.init.normal_(parameter, std=width)
    pairs = [pair(family, 0, text) for text in (list(range(3, 15)), list(range(5, 15)))]
    assert shares_prefix(built.to(kind).eval().model, *pairs) == (family in CAUSAL)


def test_padding_does_not_matter(model):
    texts, _ = samples()
    pairs = [pair("llava", image, text) for image, text in enumerate(texts)]
    together = text_vectors(model("llava"), pairs, "mean")
    for one, vector in zip(pairs, together, strict=True):
        np.testing.assert_allclose(text_vectors(model("llava"), [one], "mean", pad_id=5)[0], vector, atol=1e-5)


def test_a_sliding_window_that_texts_exceed_is_not_shared():
    short, wide = (drawn(llava(model_type="mistral", sliding_window=size)).model for size in (20, 100))
    pairs = [pair("llava", 0, text) for text in (list(range(3, 15)), list(range(5, 15)))]
    assert shared_prefix_vectors(short, pairs, [[one] for one in pairs[::-1]], "mean") is None
    assert not shares_prefix(short, *pairs)
    assert shares_prefix(wide, *pairs)


def test_where_tokens_merge_the_text_begins_later_than_the_common_prefix(model):
    one = pair("llava", 0, [7, 8, 9, 10])
    other = one.with_tail(17, [20, 8, 9], 18)  # the token before the text is another one, too
    _, repeats = shared_prefix_vectors(model("llava"), [one], [[other]], "mean")
    np.testing.assert_allclose(repeats[0, 0], alone(model("llava"), other, "mean"), rtol=1e-3, atol=1e-4)
