import numpy as np
import pytest


@pytest.fixture(scope="session")
def photographs():
    """Six smooth uint8 images of real sizes: square, wide, tall, odd margins, smaller than a model's input."""
    rng = np.random.default_rng(0)
    images = []
    for height, width in ((512, 512), (600, 1000), (451, 300), (299, 512), (225, 224), (64, 90)):
        rows, columns = np.mgrid[0:height, 0:width]
        waves = rng.uniform(0.005, 0.2, (3, 2))
        smooth = [np.sin(a * rows) * np.cos(b * columns) for a, b in waves]
        noise = rng.normal(0, 12, (height, width, 3))
        images.append((127 + 90 * np.stack(smooth, -1) + noise).clip(0, 255).astype(np.uint8))
    return images
