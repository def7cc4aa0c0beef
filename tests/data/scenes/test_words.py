import re

import pytest

from eotune.data.scenes import CLASSES, render
from eotune.data.scenes.words import NUMBERS, TEMPLATES

SYNONYMS = {
    "Airport": "airport|apron|planes", "Beach": "beach|sand|sea", "Farmland": "farmland|field",
    "Forest": "forest|trees", "Harbour": "harbour|port|quay|docked", "Junction": "junction|crossing|cross|meet",
    "Parking": "parking|parked",
    "Residential": "residential|houses", "River": "river|water", "Roundabout": "roundabout|island|circular",
    "SportsField": "fields|courts|grounds", "StorageTanks": "tanks",
}  # fmt: skip


def test_all_classes_have_words():
    assert set(TEMPLATES) == set(CLASSES) == set(SYNONYMS)


@pytest.mark.parametrize("label", CLASSES)
def test_every_scene_has_five_whole_captions_of_its_class(label):
    for seed in range(30):
        captions = render(label, seed, size=8).captions
        assert len(captions) == 5
        assert len(set(captions)) >= 4  # one may repeat another, as in the published sets
        for caption in captions:
            assert caption.endswith(" .")
            assert not re.search(r"[{}]|  ", caption)
            assert re.search(SYNONYMS[label], caption), caption


@pytest.mark.parametrize("label", CLASSES)
def test_numbers_in_captions_are_facts_of_the_scene(label):
    told = 0
    for seed in range(30):
        scene = render(label, seed, size=8)
        true = {NUMBERS[value] for value in scene.facts.values() if isinstance(value, int)}
        if scene.facts.get("bridge") == "no bridge":
            true.add("no")
        for caption in scene.captions:
            found = set(caption.replace("nothing", "").split()) & set(NUMBERS)
            assert found <= true, caption
            told += len(found)
    assert told > 0 or label in ("Beach", "Forest")  # of which nothing is counted


@pytest.mark.parametrize(
    ("label", "fact", "boxes"),
    [
        ("Airport", "count", "plane"),
        ("Harbour", "count", "ship"),
        ("River", "count", "ship"),
        ("StorageTanks", "count", "storage-tank"),
        ("Junction", "cars", "small-vehicle"),
        ("Roundabout", "cars", "small-vehicle"),
        ("SportsField", "count", "-"),
    ],
)
def test_counts_told_are_counts_of_boxes(label, fact, boxes):
    for seed in range(20):
        scene = render(label, seed, size=8)
        found = sum(box.label == boxes or (boxes == "-" and "-" in box.label) for box in scene.boxes)
        assert scene.facts[fact] == found
