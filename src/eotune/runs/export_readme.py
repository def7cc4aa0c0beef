"""How an exported model is loaded: the part of its README.md that differs from format to format."""

from eotune.encoders.base import DualEncoder
from eotune.encoders.hf import HFDualEncoder
from eotune.encoders.preprocess import ImageTransform

_HF = """```python
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

model = AutoModel.from_pretrained("{name}").eval()
images = AutoImageProcessor.from_pretrained("{name}", backend="pil")([Image.open("scene.png")], return_tensors="pt")
texts = AutoTokenizer.from_pretrained("{name}")(
    ["white planes in an airport"], padding="{padding}", truncation=True, max_length={max_tokens}, return_tensors="pt"
)
with torch.inference_mode():
    image_embeddings = model.get_image_features(**images).pooler_output
    text_embeddings = model.get_text_features(input_ids=texts.input_ids).pooler_output
```

In eotune: `hf:{name}`.
"""

_COMPOSED = """transformers has no class for two towers with projections of their own: `vision/` and `text/` are
plain models of it, `projection.safetensors` and `config.json` join them.

```python
from eotune import encoders

encoder = encoders.load("composed:{name}")
text_embeddings = encoder.embed_texts(["white planes in an airport"])
```
"""

_OPEN_CLIP = """```python
import open_clip
import torch
from PIL import Image

model, preprocess = open_clip.create_model_from_pretrained("local-dir:{name}")
tokenizer = open_clip.get_tokenizer("local-dir:{name}")
with torch.inference_mode():
    image_embeddings = model.eval().encode_image(preprocess(Image.open("scene.png"))[None], normalize=True)
    text_embeddings = model.encode_text(tokenizer(["white planes in an airport"]), normalize=True)
```

Before it goes to the hub, write the repository's id as `hf_tokenizer_name` into open_clip_config.json: it stands there
as `.`, which open_clip takes for the directory only where it loads `local-dir:`.
"""

_PEFT = """```python
from peft import PeftModel
from transformers import AutoModel

model = PeftModel.from_pretrained(AutoModel.from_pretrained("{base}"), "{name}")
```

Only the adapter is here: weights of `{base}` are needed, and its tokenizer and preprocessing. Images are of
{size} x {size} pixels{resized}. The logit scale is the base model's.
"""

_PEFT_TOWERS = """One adapter a tower of `{base}`, each for its own model:
`PeftModel.from_pretrained(vision_model, "{name}/image")`, and likewise `{name}/text`.
The projections and the logit scale are those of the base.
"""

_ONNX = """```python
import numpy as np
from onnxruntime import InferenceSession
from PIL import Image
from transformers import AutoTokenizer

image = Image.open("scene.png").convert("RGB")
{prepare}
pixels = (np.asarray(image, np.float32) / 255 - {mean}) / {std}
texts = AutoTokenizer.from_pretrained("{name}")(
    ["white planes in an airport"], padding="{padding}", truncation=True, max_length={max_tokens}, return_tensors="np"
)
image_embeddings = InferenceSession("{name}/image.onnx").run(
    None, {{"pixels": pixels.transpose(2, 0, 1)[None].astype(np.float32)}}
)[0]
text_embeddings = InferenceSession("{name}/text.onnx").run(
    None, {{"input_ids": texts.input_ids, "attention_mask": texts.attention_mask}}
)[0]
similarity = image_embeddings @ text_embeddings.T  # both are of unit length
```

preprocessing.json says the same to programs, and the logit scale.
"""


RECENTRED = """
Where an odd number of pixels is left over around the centre that is cut out, the cut may lie one pixel beside the
run's own: the library rounds in its own way.
"""


def library_of(to: str, encoder: DualEncoder) -> str:
    """Return the library that loads a format, as the hub's model cards name it."""
    hf = "transformers" if isinstance(encoder, HFDualEncoder) else "eotune"
    return {"hf": hf, "open_clip": "open_clip", "peft": "peft", "onnx": "onnx"}[to]


def how_to_load(to: str, encoder: DualEncoder, base: str, name: str, *, recentred: bool) -> str:
    """Return Markdown that says how to load what was exported.

    Args:
        to: The format.
        encoder: What was exported.
        base: The encoder that was adapted.
        name: Of the exported directory.
        recentred: Whether images' centres are cut out in another way than by the run.
    """
    is_whole = isinstance(encoder, HFDualEncoder)
    transform = encoder.transform
    resized = (
        ""
        if to != "peft" or not is_whole or transform.size == encoder.native_size
        else (", not the base's own size: pass `interpolate_pos_encoding=True` to `get_image_features`")
    )
    template = {
        "hf": _HF if is_whole else _COMPOSED,
        "open_clip": _OPEN_CLIP,
        "peft": _PEFT if is_whole else _PEFT_TOWERS,
        "onnx": _ONNX,
    }[to]
    text = template.format(
        name=name,
        base=base.removeprefix("hf:"),
        padding="max_length" if isinstance(encoder, HFDualEncoder) and encoder.is_siglip else "longest",
        max_tokens=encoder.max_tokens,
        size=transform.size,
        resized=resized,
        prepare=prepare(transform),
        mean=list(transform.mean),
        std=list(transform.std),
    )
    return text + RECENTRED if recentred else text


def prepare(transform: ImageTransform) -> str:
    """Return Python that does to ``image``, of PIL, what the transform does."""
    target, how = transform.scaled_to or transform.size, f"Image.Resampling.{transform.interpolation.upper()}"
    scaled = (
        f"[{target}, {target}]"
        if transform.resize == "squash"
        else (f"[int(side * {target} / min(image.size)) for side in image.size]")
    )
    lines = [f"image = image.resize({scaled}, {how})"]
    if transform.resize == "shortest" or target != transform.size:
        margin = f"(side - {transform.size})"
        half = f"{margin} // 2" if transform.centre == "floor" else f"round({margin} / 2)"
        lines += [
            f"left, top = [{half} for side in image.size]",
            f"image = image.crop((left, top, left + {transform.size}, top + {transform.size}))",
        ]
    return "\n".join(lines)
