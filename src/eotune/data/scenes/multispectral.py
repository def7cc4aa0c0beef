"""A scene in Sentinel-2's 13 bands: spectra of its materials, painted and shaded as the picture is."""

import numpy as np

from eotune.core.seeds import generator
from eotune.data.scenes.materials import colours, reflectances
from eotune.data.scenes.render import Scene

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
QUANTIFICATION = 10_000  # numbers for a reflectance of 1, as in Sentinel-2's products
_PIXELS = {"B02": 1, "B03": 1, "B04": 1, "B08": 1, "B01": 6, "B09": 6, "B10": 6}  # of 10 m; the others have 20 m
_FOLLOWS = (2, 2, 1, 0, 0)  # whether B01 to B05 take their paint from red (0), green (1) or blue (2)


def multispectral(scene: Scene, *, noise: float = 0.002, seed: int = 0) -> np.ndarray:
    """Return the scene in Sentinel-2's bands, at the surface.

    A pixel's spectrum is the mean of its materials', weighted by their shares of it. The visible bands and B05 follow
    the picture's colour, so that a red roof is red; all others its brightness, so that shadows are dark in every band.
    Bands of 20 and 60 m are blurred to two and six pixels, as though a pixel of the scene were 10 m.

    Args:
        scene: What :func:`~eotune.data.scenes.render` returned.
        noise: Standard deviation of the sensor's noise, in reflectance, before blur.
        seed: Of the noise.

    Returns:
        uint16 ``(13, size, size)``, reflectance times 10,000, in the order of :data:`BANDS`; never 0, which stands for
        no data.

    Example:
        >>> from eotune.data.scenes import render
        >>> bands = multispectral(render("Forest", 0, size=32))
        >>> bands.shape, bands.dtype.name
        ((13, 32, 32), 'uint16')
    """
    from scipy.ndimage import gaussian_filter

    fractions = scene.fractions()
    spectra = np.tensordot(reflectances().T, fractions, 1)
    expected = np.tensordot(colours().T, fractions, 1)
    paint = (scene.image.transpose(2, 0, 1) / expected).clip(0.1, 4)
    brightness = paint.mean(0)
    gains = np.stack([paint[_FOLLOWS[band]] if band < len(_FOLLOWS) else brightness for band in range(len(BANDS))])
    values = spectra * gains + generator("sensor", scene.label, scene.seed, seed).normal(0, noise, spectra.shape)
    for band, name in enumerate(BANDS):
        pixels = _PIXELS.get(name, 2)
        if pixels > 1:  # a Gaussian point spread as wide at half its height as the band's pixel
            values[band] = gaussian_filter(values[band], pixels / 2.355, mode="nearest")
    return (values * QUANTIFICATION).round().clip(1, np.iinfo(np.uint16).max).astype(np.uint16)
