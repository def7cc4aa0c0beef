import re
from collections import Counter

import numpy as np
import pytest

from eotune.data.scenes import CLASSES, render
from eotune.data.scenes.words import NUMBERS, TEMPLATES, VAGUE, captions

SYNONYMS = {
    "Airport": "airport|apron|plane", "Beach": "beach|sand|sea", "Farmland": "farmland|field|crops",
    "Forest": "forest|trees|wood", "Harbour": "harbour|port|quay|docked|moored",
    "Junction": "junction|crossing|cross|meet", "Parking": "parking|cars", "Residential": "residential|houses",
    "River": "river", "Roundabout": "roundabout|island|circular", "Runway": "runway",
    "SportsField": "field|court|sports", "StorageTanks": "tanks",
}  # fmt: skip


def test_all_classes_have_words():
    assert set(TEMPLATES) == set(VAGUE) == set(CLASSES) == set(SYNONYMS)


@pytest.mark.parametrize("label", CLASSES)
def test_every_scene_has_five_whole_captions_of_its_class(label):
    for seed in range(30):
        found = render(label, seed, size=8).captions
        assert len(set(found)) == len(found) == 5
        for caption in found:
            assert caption.endswith(" .")
            assert re.fullmatch(r"[a-z ,]+ \.", caption), caption
            assert not re.search(
                r"  |\b(a|one) (\w+ )?\w*[^s]s (is|stands|lies)\b|\bone (\w+ )?(planes|ships|cars|boats)\b", caption
            )
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
        ("Runway", "planes", "plane"),
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


def test_captions_of_different_scenes_of_a_class_repeat_rarely():
    """Real annotators repeat themselves too: the share is neither none nor much."""
    for label in CLASSES:
        scenes = [set(render(label, seed, size=8).captions) for seed in range(30)]
        times = Counter(caption for found in scenes for caption in found)
        share = sum(n for n in times.values() if n > 1) / sum(times.values())
        assert 0 < share < 0.45, (label, share)


@pytest.mark.parametrize("label", CLASSES)
def test_templates_use_nothing_but_facts(label):
    fields = set(re.findall(r"{(\w+)", " ".join(TEMPLATES[label])))
    assert fields <= set(render(label, 0, size=8).facts) | {"some"}
    assert not re.search(r"[{}\[\]|]", VAGUE[label])


def test_forms_agree_with_their_numbers():
    """All templates of harbours, whose ships are counted: the verb and the noun follow the number."""
    facts = {"colour": "red", "side": "left", "beside": "a concrete quay"}
    for count, right, wrong in (
        (1, r"\bship\b", r"\bships\b|\bare\b|\bsome\b"),
        (3, r"\bships\b", r"\bship\b|\ba red\b"),
    ):
        for seed in range(20):
            for caption in captions("Harbour", facts | {"count": count}, np.random.default_rng(seed)):
                assert re.search(right, caption) or caption == VAGUE["Harbour"]
                assert not re.search(wrong, caption), caption


@pytest.mark.parametrize("label", ["Beach", "Forest"])
def test_what_a_scene_lacks_is_not_told(label):
    for seed in range(20):
        scene = render(label, seed, size=8)
        for caption in scene.captions:
            assert "nothing" not in caption
            if scene.facts["feature"] != "nothing" and caption != VAGUE[label]:
                assert scene.facts["feature"] in caption
