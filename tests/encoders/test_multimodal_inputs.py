import torch

from eotune.encoders.multimodal_inputs import PairInput, collate


def sample(ids, **more):
    ids = torch.tensor([ids])
    return PairInput({"input_ids": ids, "attention_mask": torch.ones_like(ids), **more}, 2)


def test_other_tokens_take_the_place_of_a_text():
    kinds = torch.tensor([[0, 1, 0, 0]])
    one = sample([4, 9, 5, 6], mm_token_type_ids=kinds, pixel_values=torch.ones(1, 3, 2, 2))
    other = one.with_tail(2, [7], 2)
    assert other.ids.tolist() == [4, 9, 7]
    assert other.tensors["attention_mask"].tolist() == [[1, 1, 1]]
    assert other.tensors["mm_token_type_ids"].tolist() == [[0, 1, 0]]
    assert other.tensors["pixel_values"] is one.tensors["pixel_values"]
    assert one.ids.tolist() == [4, 9, 5, 6]
    assert (one.cut(3).ids.tolist(), one.cut(4)) == ([4, 9, 5], one)


def test_tokens_are_padded_and_masked_on_either_side():
    rows = [sample([4, 9, 5]).tensors, sample([4, 9, 5, 6, 7]).tensors]
    right, left = collate(rows, 3), collate(rows, 3, side="left")
    assert right["input_ids"].tolist() == [[4, 9, 5, 3, 3], [4, 9, 5, 6, 7]]
    assert right["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert left["input_ids"].tolist() == [[3, 3, 4, 9, 5], [4, 9, 5, 6, 7]]
    assert left["attention_mask"].tolist() == [[0, 0, 1, 1, 1], [1] * 5]


def test_missing_tiles_are_zeros_and_flat_patches_are_joined():
    rows = [
        {"pixel_values": torch.ones(1, 2, 3, 4, 4), "grid": torch.ones(5, 6)},
        {"pixel_values": torch.ones(1, 3, 3, 4, 4), "grid": torch.ones(2, 6)},
    ]
    batch = collate(rows, 3)
    assert batch["pixel_values"].shape == (2, 3, 3, 4, 4)
    assert batch["pixel_values"][0, 2].abs().sum() == 0
    assert batch["pixel_values"].sum() == 5 * 48
    assert batch["grid"].shape == (7, 6)
