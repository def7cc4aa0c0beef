"""How an exported image encoder and its classifier are loaded: the part of README.md that differs by format."""

import inspect
import re
from textwrap import indent

from eotune.encoders.base import ImageEncoder
from eotune.encoders.grouped import GroupedImageEncoder
from eotune.encoders.image import HFImageEncoder
from eotune.encoders.towers import asks_for_interpolation, patch_size
from eotune.runs.export_readme import RECENTRED, prepare
from eotune.runs.linear_classifier import LinearClassifier
from eotune.runs.long_tail_files import CLASSIFIER_NAMES

_PROCESSOR = """image = Image.open("scene.png")
pixels = AutoImageProcessor.from_pretrained("{name}", backend="pil")([image], return_tensors="pt").pixel_values
"""

_READ = 'scene = np.asarray(Image.open("scene.png").convert("RGB"))'
_READ_BANDS = 'scene = read_saved_bands(Path("{name}"))(Path("scene.tif"))  # uint8 (h, w, {bands}), see below'

_PIXELS = """{read}


def prepared(band):
    image = Image.fromarray(band)
{prepare}
    return np.asarray(image, np.float32) / 255


mean, std = np.float32({mean}), np.float32({std})
pixels = np.stack([prepared(band) for band in scene.transpose(2, 0, 1)])
pixels = ((pixels - mean[:, None, None]) / std[:, None, None])[None]
"""

_MODEL = """with torch.inference_mode():
    features = {features}
"""

_LINEAR = """classifier = load_file("{name}/classifier.safetensors")
probabilities = torch.softmax(features @ classifier["weight"].T + classifier["bias"], dim=1)
"""

_ONNX = 'features, probabilities = InferenceSession("{name}/image.onnx").run(None, {{"pixels": pixels}})\n'

_SATMAE = """encoder = load_image("satmae:{name}/model.safetensors#{feature}", image_size={size})
encoder.normalise_by({mean}, {std})
features = torch.from_numpy(encoder.embed_images([scene]))
"""

_CLASSES = """classes = json.loads(Path("{name}/classes.json").read_text(encoding="utf-8"))["classes"]
print(classes[int(probabilities[0].argmax())])
"""

_FOLDED = """
The classifier is the run's {classifier}, with the features' standardisation and the temperature that calibrates it in
its weights.{instead} The feature is not of unit length.
"""

_BANDS = """
`bands.json` says which bands are read, in which order, and how: a band's `low` becomes 0 and its `high` 255 (after the
file's scale, offset and, where `decibels` says so, 10 log10), what lies outside is cut, and a pixel without data takes
the band's mean. Then bands are resized one by one, divided by 255 and normalised as above.
"""

_PLAIN = """
The code takes images of 8 bits that hide nothing. eotune lays transparent ones over black, divides 16 bits by 257 and
turns what EXIF says is turned.
"""

_INSTEAD = " Its best on validation, the {best}, is no linear map of one feature and is not part of this."


def how_to_load(
    to: str, encoder: ImageEncoder, base: str, name: str, classifier: LinearClassifier, *, bands: bool, recentred: bool
) -> str:
    """Return Markdown that says how to load what was exported, and how an image becomes probabilities.

    Args:
        to: The format.
        encoder: What was exported.
        base: The encoder that was adapted.
        name: Of the exported directory.
        classifier: Exported with it.
        bands: Whether bands.json lies beside it.
        recentred: Whether images' centres are cut out in another way than by the run.
    """
    imports = {"import json", "from pathlib import Path"}
    steps = [_pixels(to, encoder, name, bands, imports), _features(to, encoder, base, name, imports)]
    if to != "onnx":
        imports |= {"import torch", "from safetensors.torch import load_file"}
        steps.append(_LINEAR.format(name=name))
    code = "".join([*steps, _CLASSES.format(name=name)])
    instead = "" if classifier.name == classifier.best else _INSTEAD.format(best=_named(classifier.best))
    return "".join([
        f"```python\n{_sorted(imports)}\n{code}```\n",
        _FOLDED.format(classifier=_named(classifier.name), instead=instead),
        _BANDS if bands else _PLAIN,
        RECENTRED if recentred else "",
    ])  # fmt: skip


def _pixels(to: str, encoder: ImageEncoder, name: str, bands: bool, imports: set[str]) -> str:
    """Return code that reads an image, and unless eotune loads the encoder, makes ``pixels`` of it."""
    if to == "hf" and not bands and not isinstance(encoder, GroupedImageEncoder):
        imports |= {"from PIL import Image", "from transformers import AutoImageProcessor"}
        return _PROCESSOR.format(name=name)
    if bands:
        imports |= {"from eotune.runs.saved_bands import read_saved_bands"}
        read = _READ_BANDS.format(name=name, bands=encoder.channels)
    else:
        imports |= {"import numpy as np", "from PIL import Image"}
        read = _READ
    if to == "hf" and isinstance(encoder, GroupedImageEncoder):
        return read + "\n"
    imports |= {"import numpy as np", "from PIL import Image"}
    transform = encoder.transform
    steps = indent(prepare(transform), "    ")
    return _PIXELS.format(read=read, prepare=steps, mean=list(transform.mean), std=list(transform.std))


def _features(to: str, encoder: ImageEncoder, base: str, name: str, imports: set[str]) -> str:
    """Return code that makes ``features``, of ONNX ``probabilities`` too."""
    if to == "onnx":
        imports |= {"from onnxruntime import InferenceSession"}
        return _ONNX.format(name=name)
    if not isinstance(encoder, HFImageEncoder):
        raise TypeError(f"{type(encoder).__name__} has no layout to load")
    if isinstance(encoder, GroupedImageEncoder):
        imports |= {"from eotune.encoders import load_image"}
        transform = encoder.transform
        return _SATMAE.format(
            name=name, feature=encoder.pooling, size=transform.size, mean=list(transform.mean), std=list(transform.std)
        )
    pixels = "pixels" if "AutoImageProcessor" in "".join(imports) else "torch.from_numpy(pixels)"
    if encoder.native_size != encoder.image_size and asks_for_interpolation(encoder.model):
        pixels += ", interpolate_pos_encoding=True"
    pooled = {
        "cls": "last_hidden_state[:, 0]",
        "mean": f"last_hidden_state[:, -{(encoder.image_size // patch_size(encoder.model)) ** 2} :].mean(1)",
        "pooler": "pooler_output",
    }[encoder.pooling]
    return _model(to, encoder, base, name, imports) + _MODEL.format(features=f"model({pixels}).{pooled}")


def _model(to: str, encoder: HFImageEncoder, base: str, name: str, imports: set[str]) -> str:
    """Return code that loads ``model``: by the class that it is of, as a pooler that it lacks would be drawn."""
    kind = type(encoder.model)
    plain = ", add_pooling_layer=False" if "add_pooling_layer" in inspect.signature(kind.__init__).parameters else ""
    if to == "peft" and not base.startswith("hf:"):
        imports |= {"from peft import PeftModel", "from eotune.encoders import load_image"}
        return f'model = PeftModel.from_pretrained(load_image("{base}").model, "{name}").eval()\n'
    imports |= {f"from transformers import {kind.__name__}"}
    if to == "hf":
        return f'model = {kind.__name__}.from_pretrained("{name}"{plain}).eval()\n'
    imports |= {"from peft import PeftModel"}
    source = re.sub(r"#(cls|mean|pooler)$", "", base.removeprefix("hf:"))
    return f'model = PeftModel.from_pretrained({kind.__name__}.from_pretrained("{source}"{plain}), "{name}").eval()\n'


def _named(classifier: str) -> str:
    return CLASSIFIER_NAMES[classifier].lower()


def _sorted(imports: set[str]) -> str:
    """Return import lines as they are usually written: the standard library first, modules before names."""
    standard = imports & {"import json", "from pathlib import Path"}
    groups = (sorted(group, key=lambda line: (line[0] != "i", line)) for group in (standard, imports - standard))
    return "\n\n".join("\n".join(group) for group in groups) + "\n"
