import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoTokenizer, BertModel, CLIPModel, ViTForImageClassification, ViTModel
from transformers.utils import logging

from eotune.core.errors import InputError
from eotune.encoders.pretrained import (
    check_source,
    checked_size,
    find_file,
    first_line,
    read_config,
    read_model,
    read_tokenizer,
)


def refused(says, function, *arguments, **options):
    with pytest.raises(InputError, match=says) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)


def change_weights(folder, change):
    path = folder / "model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path, metadata={"format": "pt"})


def test_missing_extra_and_reshaped_weights_are_all_named(copy_of):
    folder = copy_of("clip")

    def change(state):
        del state["visual_projection.weight"], state["logit_scale"]
        state["something.else"] = torch.zeros(1)
        state["text_projection.weight"] = torch.zeros(24, 7)

    change_weights(folder, change)
    says = (
        r"clip: the weights do not fit the model: missing 2 \(logit_scale, visual_projection\.weight\); "
        r"unexpected 1 \(something\.else\); "
        r"of another shape 1 \(text_projection\.weight \(24, 7\) instead of \(24, 32\)\); check that"
    )
    refused(says, read_model, CLIPModel, str(folder))


def test_a_part_may_leave_over_what_lies_outside_it(copy_of, models):
    folder = copy_of("vit")
    whole = ViTForImageClassification(AutoConfig.from_pretrained(folder))
    whole.save_pretrained(folder)
    refused(
        r"unexpected 2 \(classifier\.bias, classifier\.weight\)",
        read_model,
        ViTModel,
        str(folder),
        add_pooling_layer=False,
    )
    part = read_model(ViTModel, str(folder), part=True, add_pooling_layer=False)
    torch.testing.assert_close(part.embeddings.cls_token, whole.vit.embeddings.cls_token)
    change_weights(folder, lambda state: state.update({"vit.layers.7.extra": torch.zeros(1)}))
    refused(r"unexpected 1 \(", read_model, ViTModel, str(folder), part=True, add_pooling_layer=False)


def test_position_ids_of_old_releases_are_left_over_in_peace(copy_of):
    folder = copy_of("bert")
    change_weights(folder, lambda state: state.update({"embeddings.position_ids": torch.arange(12)[None]}))
    assert read_model(BertModel, str(folder), add_pooling_layer=False).config.hidden_size == 32


def test_half_precision_weights_become_float32(copy_of):
    folder = copy_of("clip")
    CLIPModel.from_pretrained(folder).half().save_pretrained(folder)
    model = read_model(CLIPModel, str(folder))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_pickle_is_not_read(copy_of):
    folder = copy_of("clip")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(print))
    refused(
        r"clip: no model could be read .*; pytorch_model\.bin is not read, pickles can run code; save the model as",
        read_model,
        CLIPModel,
        str(folder),
    )


@pytest.mark.parametrize("content", [b"", b"\x80\x04 a pickle", b"\xff" * 64])
def test_a_broken_weight_file_is_one_line(content, copy_of):
    folder = copy_of("clip")
    (folder / "model.safetensors").write_bytes(content)
    refused("clip: no model could be read .*; the directory needs config.json", read_model, CLIPModel, str(folder))


def test_without_weights(copy_of):
    folder = copy_of("clip")
    (folder / "model.safetensors").unlink()
    refused("no model could be read .*; the directory needs", read_model, CLIPModel, str(folder))


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"model_type": "no-such-model"}', '{"model_type": 3}'])
def test_a_broken_configuration_is_one_line(text, tmp_path):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    refused("no model configuration could be read .*; the directory needs config.json", read_config, str(tmp_path))


@pytest.mark.parametrize("value", ["many", -1, 3.5, None])
def test_a_configuration_with_wrong_sizes_is_one_line(value, copy_of):
    folder = copy_of("clip")
    values = json.loads((folder / "config.json").read_text())
    values["vision_config"]["num_hidden_layers"] = value
    (folder / "config.json").write_text(json.dumps(values))

    def read():
        read_config(str(folder))
        read_model(CLIPModel, str(folder))

    refused("clip: ", read)


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_broken_tokenizer_is_one_line(text, copy_of):
    folder = copy_of("bert")
    (folder / "tokenizer_config.json").unlink()
    (folder / "tokenizer.json").unlink()
    if text is not None:
        (folder / "tokenizer.json").write_text(text)
    refused("bert: no tokenizer could be read", read_tokenizer, str(folder), rows=14)


def test_a_folder_without_tokenizer_files_gives_no_tokenizer(copy_of):
    """transformers would make one without a single word."""
    folder = copy_of("clip")
    for path in folder.glob("token*"):
        path.unlink()
    assert len(AutoTokenizer.from_pretrained(folder)) < 5
    refused("clip: no tokenizer could be read .it has no vocabulary.; the dir", read_tokenizer, str(folder), rows=14)


@pytest.mark.parametrize(("end", "expected"), [("</s>", "</s>"), (None, "<pad>")])
def test_a_tokenizer_without_padding_pads_with_its_end_or_its_first_token(end, expected, copy_of):
    folder = copy_of("bert")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token, tokenizer.eos_token = None, end
    tokenizer.save_pretrained(folder)
    again = read_tokenizer(str(folder), rows=14)
    assert again.pad_token == expected
    assert again(["ships", "many red ships"], padding=True)["attention_mask"] == [[1, 1, 1, 0, 0], [1] * 5]


def test_another_models_tokenizer_is_refused(models):
    assert len(read_tokenizer(str(models["bert"]), rows=14)) == 14
    says = "the tokenizer numbers words up to 13, but the model knows 13 tokens; take the tokenizer that came with"
    refused(says, read_tokenizer, str(models["bert"]), rows=13)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("./nowhere", "no such directory"),
        ("/nowhere/at/all", "no such directory"),
        ("~/models", "no such directory"),
        ("three/part/name", "no such directory"),
        ("{file}", "is a file, not a directory"),
    ],
)
def test_what_is_neither_a_folder_nor_a_hub_id_is_not_looked_up(source, says, models):
    source = source.format(file=models["clip"] / "config.json")
    refused(f"{says}; name a directory with config.json", check_source, source)


def test_hub_ids_pass_and_the_network_is_named_where_it_fails(monkeypatch):
    check_source("org/name")
    check_source("gpt2")

    def unreachable(*arguments, **options):
        raise OSError("We couldn't connect to the hub\nand more")

    monkeypatch.setattr(AutoConfig, "from_pretrained", unreachable)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", unreachable)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for read, options in ((read_config, {}), (read_tokenizer, {"rows": 14})):
        refused(
            r"org/name: .*We couldn't connect to the hub\); check the name and the network \(HF_HUB_OFFLINE is set\)",
            read,
            "org/name",
            **options,
        )


def test_transformers_loading_bars_stay_off_and_come_back(models, capfd):
    logging.enable_progress_bar()
    before = logging.get_verbosity()
    read_model(CLIPModel, str(models["clip"]))
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (before, True)


def test_files_beside_a_model(models):
    assert find_file(str(models["clip"]), "config.json") == models["clip"] / "config.json"
    assert find_file(str(models["clip"]), "none.json") is None


def test_sizes_that_patches_tile():
    assert checked_size(48, 16, "x") == 48
    for size, remedy in ((50, "take 48 or 64"), (5, "take 16 or 32"), (0, "take 16 or 32"), (-16, "take 16 or 32")):
        refused(f"image_size {size} is not a multiple of x's patch size 16; {remedy}", checked_size, size, 16, "x")


def test_the_first_line_of_an_error():
    assert first_line(ValueError("\n  what happened\nand then")) == "what happened"
    assert first_line(KeyError()) == "KeyError"
    assert len(first_line(ValueError("a" * 1000))) == 300
