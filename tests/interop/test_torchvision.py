"""Pixels are the same with and without torchvision, whose own resizing gives others."""

import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torchvision", reason="the interop extra is not installed")
pytestmark = pytest.mark.interop

CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
FILES = {  # as the hub's models have them: of transformers 4 and before
    "clip": {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224, "resample": 3, **CLIP}
    | {"do_resize": True, "do_center_crop": True, "do_normalize": True},
    "siglip": {"image_processor_type": "SiglipImageProcessor", "size": {"height": 224, "width": 224}, "resample": 3}
    | {"do_resize": True, "do_rescale": True, "do_normalize": True, **HALF},
    "vit": {"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}, "resample": 2, **HALF}
    | {"do_resize": True, "do_rescale": True, "do_normalize": True},
    "dinov2": {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256}, "resample": 3, **CLIP}
    | {"crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "do_resize": True, "do_normalize": True},
    "siglip2": {"image_processor_type": "Siglip2ImageProcessor", "patch_size": 16, "max_num_patches": 256, **HALF}
    | {"resample": 2, "do_resize": True, "do_rescale": True, "do_normalize": True},
}
# Prints the hash of each model's pixels; a module that is None cannot be imported.
SCRIPT = """
import hashlib, json, sys
if sys.argv[1] == "without":
    sys.modules["torchvision"] = None
import numpy as np
from transformers import AutoConfig
from transformers.utils import is_torchvision_available
from eotune.encoders.processors import read_transform
assert is_torchvision_available() == (sys.argv[1] == "with")
images = np.load(sys.argv[2])
hashes = {}
for folder in sys.argv[3:]:
    transform = read_transform(folder, AutoConfig.from_pretrained(folder), native_size=224)
    pixels = [transform(images[key]).tobytes() for key in sorted(images)]
    hashes[folder] = hashlib.sha256(b"".join(pixels) + repr(transform).encode()).hexdigest()
print(json.dumps(hashes))
"""


def hashes(how, images, folders):
    command = [sys.executable, "-c", SCRIPT, how, str(images), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def folders(tmp_path):
    for name, values in FILES.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "preprocessor_config.json").write_text(json.dumps(values))
        (tmp_path / name / "config.json").write_text(json.dumps({"model_type": name}))
    return [tmp_path / name for name in FILES]


def test_pixels_are_those_without_torchvision(folders, photographs, tmp_path):
    images = tmp_path / "images.npz"
    np.savez(images, *photographs)
    without = hashes("without", images, folders)
    assert hashes("with", images, folders) == without
    assert len(set(without.values())) == len(FILES)


def test_transformers_own_choice_would_differ(folders, photographs):
    from transformers import AutoImageProcessor

    usual = AutoImageProcessor.from_pretrained(folders[0])  # torchvision's backend where it is installed
    pillow = AutoImageProcessor.from_pretrained(folders[0], backend="pil")
    one, other = (np.asarray(p(photographs[0], return_tensors="np")["pixel_values"]) for p in (usual, pillow))
    assert type(usual) is not type(pillow)
    assert 0.01 < np.abs(one - other).max() < 0.5
