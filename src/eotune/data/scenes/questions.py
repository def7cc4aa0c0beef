"""Questions that a scene answers: each with several wordings, its true answer and wrong ones."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from eotune.data.scenes.materials import NAMES
from eotune.data.scenes.render import CLASSES, Scene
from eotune.data.scenes.words import VAGUE

KINDS = ("presence", "count", "class", "colour", "caption", "comparison", "position")

_OBJECTS = {
    "plane": ("plane", "planes"), "ship": ("ship", "ships"), "storage-tank": ("storage tank", "storage tanks"),
    "small-vehicle": ("car", "cars"), "tennis-court": ("tennis court", "tennis courts"),
    "basketball-court": ("basketball court", "basketball courts"), "bridge": ("bridge", "bridges"),
    "soccer-ball-field": ("football field", "football fields"),
}  # fmt: skip
_GROUNDS = {"water": "water", "sand": "sand", "forest": "trees", "roof": "buildings"}
_COLOURED = {
    "Airport": ("plane", "planes"), "Harbour": ("ship", "ships"), "StorageTanks": ("storage tank", "storage tanks"),
    "Residential": ("roof", "roofs"), "Roundabout": ("middle of the roundabout", ""), "Runway": ("plane", "planes"),
}  # fmt: skip
_SIDED = {"Harbour": "quay", "Beach": "water", "Parking": "row of trees"}
_PLACES = {
    "Airport": "an airport", "Beach": "a beach", "Farmland": "farmland", "Forest": "a forest", "Harbour": "a harbour",
    "Junction": "a road junction", "Parking": "a parking lot", "Residential": "a residential area",
    "River": "a river", "Roundabout": "a roundabout", "Runway": "a runway",
    "SportsField": "a sports ground", "StorageTanks": "storage tanks",
}  # fmt: skip
_COLOURS = ("white", "red", "blue", "grey", "brown", "green", "yellow")
_SIDES = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}
_CORNERS = ("in the upper left", "in the upper right", "in the lower left", "in the lower right")
_LEAST_SHARE = 0.02  # of the pixels, for ground to count as present; between none and that nothing is asked


@dataclass(frozen=True)
class Question:
    """One question about one scene.

    Attributes:
        kind: One of :data:`KINDS`.
        subject: What it asks about; no other question of the scene has the same kind and subject.
        wordings: At least three ways to ask it.
        answers: One or two ways to give the true answer.
        wrong: Answers that are false.
    """

    kind: str
    subject: str
    wordings: tuple[str, ...]
    answers: tuple[str, ...]
    wrong: tuple[str, ...]


def questions(scene: Scene) -> tuple[Question, ...]:
    """Return all that can be asked about a scene, with answers from its materials, boxes and facts.

    Example:
        >>> from eotune.data.scenes import render
        >>> found = questions(render("Airport", 1, size=32))
        >>> next((q.wordings[0], q.answers[0]) for q in found if q.kind == "count")
        ('How many planes are there in the image?', '5.')
    """
    kinds = (_presence, _count, _class, _colour, _caption, _comparison, _position)
    return tuple(question for kind in kinds for question in kind(scene))


def _presence(scene: Scene) -> Iterator[Question]:
    shares = scene.fractions().mean((1, 2))
    counts = _counts(scene)
    seen = {noun: float(shares[NAMES.index(material)]) for material, noun in _GROUNDS.items()}
    seen |= {_OBJECTS[name][1]: float(counts[name]) for name in ("plane", "ship", "storage-tank", "small-vehicle")}
    for noun, amount in seen.items():
        if 0 < amount < _LEAST_SHARE:
            continue
        verb = "is" if noun in ("water", "sand") else "are"
        wordings = (
            f"{verb.capitalize()} there any {noun} in the image?",
            f"Can {noun} be seen here?",
            f"Does this scene contain {noun}?",
        )
        yes = ("Yes.", f"Yes, there {verb} {noun} in the image.")
        no = ("No.", f"No, there {verb} no {noun} in the image.")
        yield Question("presence", noun, wordings, *((yes, no) if amount else (no, yes)))


def _count(scene: Scene) -> Iterator[Question]:
    for name, number in _counts(scene).items():
        one, many = _OBJECTS[name]
        wordings = (f"How many {many} are there in the image?", f"Count the {many}.", f"What is the number of {many}?")
        answers = (f"{number}.", f"There is 1 {one}." if number == 1 else f"There are {number} {many}.")
        wrong = tuple(f"{other}." for other in range(max(0, number - 2), number + 4) if other != number)
        yield Question("count", many, wordings, answers, wrong)


def _class(scene: Scene) -> Iterator[Question]:
    wordings = (
        "Which kind of place does the image show?",
        "What type of scene is this?",
        "Name the class of this overhead image.",
        "What is seen from above here?",
    )
    wrong = tuple(f"{_sentence(_PLACES[label])}." for label in CLASSES if label != scene.label)
    place = _PLACES[scene.label]
    yield Question("class", "scene", wordings, (f"{_sentence(place)}.", f"The image shows {place}."), wrong)


def _colour(scene: Scene) -> Iterator[Question]:
    if scene.label not in _COLOURED:
        return
    (one, many), colour = _COLOURED[scene.label], str(scene.facts["colour"])
    is_one = scene.label == "Roundabout" or len(scene.boxes) == 1
    noun, verb, does = (one, "is", "does") if is_one else (many, "are", "do")
    wordings = (
        f"What colour {verb} the {noun}?",
        f"Which colour {does} the {noun} have?",
        f"Name the colour of the {noun}.",
    )
    answers = (f"{colour.capitalize()}.", f"The {noun} {verb} {colour}.")
    yield Question("colour", noun, wordings, answers, tuple(f"{c.capitalize()}." for c in _COLOURS if c != colour))


def _caption(scene: Scene) -> Iterator[Question]:
    wordings = (
        "Describe the image in one sentence.",
        "Give a short caption of this overhead image.",
        "What does the picture show? Answer in a sentence.",
        "Write a caption.",
    )
    wrong = tuple(VAGUE[label] for label in CLASSES if label != scene.label)
    yield Question("caption", "image", wordings, scene.captions[:2], wrong)


def _comparison(scene: Scene) -> Iterator[Question]:
    counts = _counts(scene)
    for name in counts:
        other = next(label for label in _OBJECTS if counts[label] != counts[name])
        # Asked one way round for even counts and the other for odd ones, so that yes is no safe guess.
        more, less = (name, other) if counts[name] % 2 == 0 else (other, name)
        first, second = _OBJECTS[more][1], _OBJECTS[less][1]
        wordings = (
            f"Are there more {first} than {second}?",
            f"Do the {first} outnumber the {second}?",
            f"Is the number of {first} larger than that of {second}?",
        )
        yes = ("Yes.", f"Yes, there are more {first} than {second}.")
        no = ("No.", f"No, there are not more {first} than {second}.")
        is_more = counts[more] > counts[less]
        yield Question("comparison", f"{first} and {second}", wordings, *((yes, no) if is_more else (no, yes)))


def _position(scene: Scene) -> Iterator[Question]:
    if scene.label in _SIDED:
        noun, side = _SIDED[scene.label], _SIDES[str(scene.facts["side"])]
        wrong = tuple(f"{_sentence(other)}." for other in _SIDES.values() if other != side)
        yield _where(noun, side, wrong)
    for name, number in _counts(scene).items():
        centre = next(box for box in scene.boxes if box.label == name).corners.mean(0) / scene.size - 0.5
        if number == 1 and np.abs(centre).min() > 0.06:
            corner = _CORNERS[2 * bool(centre[1] > 0) + bool(centre[0] > 0)]
            wrong = tuple(f"{_sentence(other)}." for other in _CORNERS if other != corner)
            yield _where(_OBJECTS[name][0], corner, wrong)


def _where(noun: str, place: str, wrong: tuple[str, ...]) -> Question:
    wordings = (f"Where in the image is the {noun}?", f"In which part is the {noun}?", f"Locate the {noun}.")
    return Question("position", noun, wordings, (f"{_sentence(place)}.", f"The {noun} is {place}."), wrong)


def _counts(scene: Scene) -> Counter[str]:
    """Return the number of each kind of object that can be asked for."""
    return Counter(box.label for box in scene.boxes if box.label in _OBJECTS)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
