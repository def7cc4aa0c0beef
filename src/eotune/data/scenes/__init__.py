"""Synthetic overhead scenes: a seeded renderer with captions and oriented boxes."""

from eotune.data.scenes.dataset import contact_sheet, write_dataset
from eotune.data.scenes.render import CLASSES, Scene, SceneBox, render

__all__ = ["CLASSES", "Scene", "SceneBox", "contact_sheet", "render", "write_dataset"]
