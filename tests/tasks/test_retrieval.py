import json
import shutil

import pytest
from PIL import Image

from eotune import encoders
from eotune.core.errors import InputError
from eotune.data.captions import read_captions
from eotune.data.images import BandConfig
from eotune.data.scenes import write_dataset
from eotune.metrics.retrieval import retrieval_metrics
from eotune.tasks.retrieval import CaptionData, EvaluationSet, RetrievalConfig, objective_config, read_data


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("scenes"), {"train": 3, "test": 1}, size=32)


def config(captions, validation):
    data = {split: {"captions": captions, "split": split} for split in ("train", "test")}
    return RetrievalConfig.model_validate({**data, "validation": validation})


def test_a_validation_share_is_held_out_of_training_by_seed(captions):
    data = read_data(config(captions, 0.2), seed=0)
    held = {sample.image for sample in data.validation.samples}
    whole = len(read_captions(captions, split="train"))
    assert len(data.validation) == round(0.2 * whole)
    assert len(data.train) + len(data.validation) == whole
    assert len(data.test) == len(read_captions(captions, split="test"))
    assert not held & {sample.image for sample in data.train.samples}
    assert held == {sample.image for sample in read_data(config(captions, 0.2), seed=0).validation.samples}
    assert held != {sample.image for sample in read_data(config(captions, 0.2), seed=1).validation.samples}
    with pytest.raises(InputError, match="is no validation set"):
        read_data(config(captions, 0.001), seed=0)


def test_evaluation_equals_the_metrics_of_the_embeddings(captions):
    encoder = encoders.load("tiny")
    ready = EvaluationSet(read_captions(captions, split="test"), encoder)
    images, texts = ready.embed(encoder, batch_size=4, precision="fp32")
    expected = retrieval_metrics(images, texts, ready.image_index, bootstrap=0).values
    assert ready.evaluate(encoder).values == expected


def test_the_recipes_objective_goes_before_the_methods(captions):
    recipe = config(captions, 0.2).model_copy(update={"objective": {"gamma": 1.0}})
    merged = objective_config(recipe, {"triplet": "adaptive", "gamma": 3.0})
    assert (merged.triplet, merged.gamma) == ("adaptive", 1.0)


def test_a_held_out_share_is_read_with_the_bands_of_training(captions):
    held = config(captions, 0.2)
    train = held.train.model_copy(update={"bands": BandConfig(bands=(1,))})
    held = held.model_copy(update={"train": train})
    assert held.bands("validation") == held.bands("train") == BandConfig(bands=(1,))
    assert held.bands("test") is None
    own = held.model_copy(update={"validation": held.test})
    assert own.bands("validation") is None


def test_a_list_of_images_chooses_and_orders_them(captions, tmp_path):
    names = [sample.image for sample in read_captions(captions, split="test").samples]
    listed = tmp_path / "held_out.txt"
    listed.write_text(f"{names[3]}\n\n {names[1].rpartition('/')[2]}\n{names[3]}\n")
    data = CaptionData(captions=captions, split="test", listed=listed)
    assert [sample.image for sample in data.read().samples] == [names[3], names[1]]
    for content, message in (
        (f"{names[0]}\nnone.png\n", "1 names, such as 'none.png', are no image"),
        ("\n", "nothing"),
    ):
        listed.write_text(content)
        with pytest.raises(InputError, match=message):
            data.read()
    with pytest.raises(InputError, match=r"none\.txt: cannot be read \(No such file"):
        CaptionData(captions=captions, listed=tmp_path / "none.txt").read()


def test_a_listed_name_may_hold_what_ends_lines_elsewhere(tmp_path):
    names = ["a\u2028b.png", "c\x85d.png"]
    for name in names:
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    rows = [json.dumps({"image": name, "captions": ["a field"]}) for name in names]
    (tmp_path / "captions.jsonl").write_text("\n".join(rows))
    (tmp_path / "listed.txt").write_text("\r\n".join(names), encoding="utf-8")
    data = CaptionData(captions=tmp_path / "captions.jsonl", listed=tmp_path / "listed.txt")
    assert [sample.image for sample in data.read().samples] == names


def test_a_listed_file_name_that_several_images_have_is_refused(captions, tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        shutil.copy(read_captions(captions, split="test").paths()[0], tmp_path / folder / "1.png")
    rows = [{"image": f"{folder}/1.png", "captions": ["a pond ."], "split": "test"} for folder in "ab"]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    listed = tmp_path / "listed.txt"
    data = CaptionData(captions=tmp_path / "captions.jsonl", listed=listed)
    listed.write_text("b/1.png")
    assert [sample.image for sample in data.read().samples] == ["b/1.png"]
    listed.write_text("1.png")
    with pytest.raises(InputError, match="'1.png' is the name of several images"):
        data.read()
