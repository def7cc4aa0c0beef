"""What tests of several folders share."""

import gc
import warnings

import numpy as np
import pytest

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' %}USER: {% else %}ASSISTANT: {% endif %}{% for c in m.content %}"
    "{% if c.type == 'image' %}<image>\n{% else %}{{ c.text }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def pytest_collection_finish():
    """Keep what was imported out of every later collection: a tenth of the time of many small tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="session")
def byte_pairs():
    """Return a function that makes a tokenizer of byte pairs with more special tokens."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as Decoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    def make(*special):
        base = Tokenizer(BPE(unk_token="<unk>"))
        base.pre_tokenizer, base.decoder = ByteLevel(add_prefix_space=False), Decoder()
        trainer = BpeTrainer(
            vocab_size=330, special_tokens=["<pad>", "<unk>", "<s>", "</s>"],
            initial_alphabet=ByteLevel.alphabet(), show_progress=False,
        )  # fmt: skip
        base.train_from_iterator(["USER: is there a river? ASSISTANT: yes no bright dark which of"] * 3, trainer)
        made = PreTrainedTokenizerFast(
            tokenizer_object=base, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
        )
        made.add_special_tokens({"additional_special_tokens": list(special)})
        return made

    return make


@pytest.fixture(scope="session")
def llava(tmp_path_factory, byte_pairs):
    """Folder of a random LLaVA-1.5 that sees 32 pixels."""
    import torch
    import transformers

    words = byte_pairs("<image>")
    images = transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = transformers.LlavaProcessor(
        images, words, patch_size=16, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 32, "patch_size": 16, "model_type": "clip_vision_model"}  # fmt: skip
    language = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
                "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 2,
                "eos_token_id": 3, "vocab_size": len(words), "model_type": "llama"}  # fmt: skip
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=language, image_token_index=words.convert_tokens_to_ids("<image>")
    )
    torch.manual_seed(0)
    model = transformers.LlavaForConditionalGeneration(config)
    folder = tmp_path_factory.mktemp("llava")
    for part in (model, processor):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def scene_questions(tmp_path_factory):
    """Instruction file of bright and dark images: two questions each; splits train, validation and test."""
    import json

    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("questions")
    rng = np.random.default_rng(0)
    lines = []
    for split, count in (("train", 12), ("validation", 4), ("test", 4)):
        for number in range(count):
            bright = number % 2 == 0
            pixels = rng.integers(0, 60, (40, 36, 3)) + (180 if bright else 0)
            name = f"{split}-{number}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
            tone = "bright" if bright else "dark"
            for kind, (question, answer) in enumerate(
                [("is it bright?", "yes" if bright else "no"), ("which of: bright, dark, river?", tone)]
            ):
                turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
                lines.append({"id": f"{name}-{kind}", "image": name, "split": split, "conversations": turns})
    file = folder / "questions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.fixture(scope="module")
def ray_cluster():
    """A Ray cluster of two nodes on this machine."""
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 2**27})
    made.add_node(num_cpus=1, object_store_memory=2**27)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def geotiff(tmp_path):
    """Write a GeoTIFF from (c, h, w) values."""
    import rasterio
    from affine import Affine

    def build(values, *, name="raster.tif", crs=None, transform=None, tags=None, **profile):
        values = np.asarray(values)
        path = tmp_path / name
        tags = tags or {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(
                path,
                "w",
                driver="GTiff",
                count=values.shape[0],
                height=values.shape[1],
                width=values.shape[2],
                dtype=values.dtype,
                crs=crs,
                transform=Affine(*transform) if transform else None,
                **profile,
            ) as target:
                target.write(values)
                for key, value in tags.items():
                    setattr(target, key, value)
        return path

    return build
