"""Synthetic overhead scenes: a seeded renderer with captions, oriented boxes, spectra, radar and questions."""

from eotune.data.scenes.dataset import DEFAULT_CLASSES, contact_sheet, write_dataset, write_scene
from eotune.data.scenes.dota import write_dota
from eotune.data.scenes.georeference import Georeference, write_geotiff
from eotune.data.scenes.instructions import Redundancy, write_instructions
from eotune.data.scenes.multispectral import BANDS, multispectral
from eotune.data.scenes.questions import Question, questions
from eotune.data.scenes.radar import sar
from eotune.data.scenes.render import CLASSES, Scene, SceneBox, render

__all__ = [
    "BANDS", "CLASSES", "DEFAULT_CLASSES", "Georeference", "Question", "Redundancy", "Scene", "SceneBox",
    "contact_sheet", "multispectral", "questions", "render", "sar", "write_dataset", "write_dota", "write_geotiff",
    "write_instructions", "write_scene",
]  # fmt: skip
