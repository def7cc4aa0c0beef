"""Drawings and words for the space that image and text embeddings share."""

from eotune.runs.charts import cloud
from eotune.runs.embedding_map import Planes

GEOMETRY = {
    "alignment": "distance of an image from its captions; lower is closer",
    "uniformity_image": "spread of image embeddings; lower is more even",
    "uniformity_text": "spread of text embeddings; lower is more even",
    "modality_gap": "distance between the two modalities' centres",
}
LEGEND = ("captions", "images")
MAP_NOTE = "t-SNE of test images and one caption of each: neighbours mean something, distances and directions little."


def map_chart(planes: Planes, model: str, name: str) -> str:
    """Return a drawing of one model's map; ``name`` is what the reader knows it by."""
    points = [("dot base", planes[model, "text"].tolist()), ("dot main", planes[model, "image"].tolist())]
    return cloud(points, title=f"map of image and text embeddings, {name}")
