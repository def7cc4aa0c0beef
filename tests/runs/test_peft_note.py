"""A run's README.md claims of peft what peft does."""

import json

import pytest
import torch
import yaml
from peft import PeftModel

from eotune import encoders
from eotune.methods.adapted import load_adapted
from eotune.runs.card import write_card
from eotune.runs.peft_note import peft_files

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # of peft
TEXT = "a harbour with many boats"


def card(run):
    write_card(run)
    text = (run / "README.md").read_text()
    return yaml.safe_load(text.split("---")[1])["library_name"], text


def test_what_loads_with_peft_gives_the_runs_embeddings(run_of):
    run = run_of("lora")
    library, text = card(run)
    assert library == "peft"
    assert 'PeftModel.from_pretrained(model, "run/adapter")' in text
    assert "trained along" not in text
    model = PeftModel.from_pretrained(encoders.load("tiny").model, str(run / "adapter")).eval()
    encoder = load_adapted(run)
    with torch.inference_mode():
        found = model.get_text_features(**encoder.tokenize([TEXT])).pooler_output
    torch.testing.assert_close(
        torch.nn.functional.normalize(found, dim=-1), torch.from_numpy(encoder.embed_texts([TEXT])), atol=1e-5, rtol=0
    )


def test_heads_that_trained_along_are_named(run_of):
    run = run_of("lora", heads=True)
    library, text = card(run)
    assert library == "eotune"
    assert peft_files(run).beside == ["model.text_projection", "model.visual_projection"]
    assert "(model.text_projection, model.visual_projection) lies in `adapter/adapter.safetensors`" in text
    assert "`eotune export run`" in text


def test_each_tower_of_a_composed_encoder_has_its_folder(run_of, composed):
    run = run_of("lora", composed)
    library, text = card(run)
    assert library == "peft"
    assert "In PEFT's layout: `adapter/image/` and `adapter/text/`, each for one pretrained tower" in text
    tower = PeftModel.from_pretrained(encoders.load(composed).image_model, str(run / "adapter/image")).eval()
    pixels = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found, expected = (one(pixels, interpolate_pos_encoding=True) for one in (tower, load_adapted(run).image_model))
    torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state, atol=1e-5, rtol=0)


def test_one_adapted_tower_is_no_whole_model(run_of, composed):
    library, text = card(run_of("lora", composed, towers="image"))
    assert library == "peft"
    assert "In PEFT's layout: `adapter/image/`, each for one" in text


def test_fresh_projections_of_a_composed_encoder_are_no_part_of_peft(run_of, composed):
    library, text = card(run_of("lora", composed, heads=True))
    assert library == "eotune"
    assert "What trained along (image_projection, text_projection)" in text


def test_a_siglip_bias_is_nothing_that_embeddings_depend_on(run_of, siglip):
    assert card(run_of("lora", siglip))[0] == "peft"


def test_a_method_that_peft_does_not_know(run_of):
    library, text = card(run_of("linear"))
    assert library == "eotune"
    assert "PEFT" not in text


def test_a_first_layer_for_other_bands_is_named(run_of):
    run = run_of("lora")
    path = run / "adapter/eotune.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "channels": 2, "bands": ["VV", "VH"]}))
    library, text = card(run)
    assert library == "eotune"
    assert "with eotune's first layer and normalisation for the bands VV, VH:" in text
    path.write_text(json.dumps({**json.loads(path.read_text()), "channels": 4, "bands": None}))
    assert "first layer and normalisation for 4 bands:" in card(run)[1]
