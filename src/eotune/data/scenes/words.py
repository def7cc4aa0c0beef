"""Captions of a scene's facts, in the manner of the field's sets: short, plain, sometimes vague, sometimes repeated."""

from collections.abc import Mapping

import numpy as np

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Each class has templates from precise to vague; {n} is the count in words, the other fields are the scene's facts.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "Airport": (
        "{n} {colour} planes are parked on an apron beside {beside} .",
        "an airport apron with {n} {colour} planes .",
        "{colour} planes are parked near {beside} .",
        "some planes stand on a grey concrete apron next to {beside} .",
        "{n} planes are parked in an airport .",
        "many planes are parked in an airport .",
    ),
    "Harbour": (
        "{n} {colour} ships are docked at {beside} on the {side} .",
        "a harbour with {n} {colour} ships beside a quay .",
        "{colour} ships are docked at piers in blue water .",
        "the quay is on the {side} and {n} ships are docked there .",
        "{n} ships are docked in a harbour .",
        "several ships are in a port .",
    ),
    "StorageTanks": (
        "{n} {colour} storage tanks are surrounded by {beside} .",
        "{n} round {colour} tanks stand on bare ground .",
        "{colour} storage tanks of the same size stand in rows .",
        "there are {n} storage tanks near {beside} .",
        "some storage tanks cast shadows on the ground .",
    ),
    "Parking": (
        "{amount} cars are parked in {n} rows with trees at the {side} .",
        "a parking lot with {n} rows and {amount} cars .",
        "{amount} cars are parked on grey asphalt .",
        "trees stand at the {side} of a parking lot with {n} rows .",
        "many cars are parked in a parking lot .",
    ),
    "Residential": (
        "{n} rows of houses with {colour} roofs in a {amount} residential area .",
        "houses with {colour} roofs stand along {n} roads .",
        "a {amount} residential area with {colour} roofs and green trees .",
        "{colour} roofed houses are arranged along {n} straight roads .",
        "many houses and trees are in a residential area .",
    ),
    "Farmland": (
        "{n} strips of {colour} and {other} farmland .",
        "a {colour} field is divided into {n} strips .",
        "{colour} fields lie beside {other} fields .",
        "farmland with {n} long strips , some of them {other} .",
        "many pieces of farmland are together .",
    ),
    "Forest": (
        "a {amount} forest on {ground} ground with {feature} going through .",
        "{amount} green trees with {feature} between them .",
        "{feature} in a {amount} forest .",
        "{amount} trees stand on {ground} ground .",
        "many green trees are in a forest .",
    ),
    "Beach": (
        "a beach with water at the {side} and {feature} behind the sand .",
        "white waves at the {side} of a yellow beach .",
        "yellow sand with {feature} and blue water at the {side} .",
        "the sea is at the {side} of a beach with {feature} .",
        "a piece of yellow beach is near the blue water .",
    ),
    "Roundabout": (
        "a roundabout with {n} roads , a {colour} middle and {cars} cars .",
        "{n} roads meet at a roundabout with a {colour} middle .",
        "{cars} cars drive around a {colour} island .",
        "a circular road with {n} arms and a {colour} middle .",
        "some roads meet at a roundabout .",
    ),
    "River": (
        "a river with {n} boats flows {way} between {beside} .",
        "a curved river with {bridge} and {n} boats .",
        "a river flows {way} beside {beside} .",
        "{beside} are on both sides of a river with {bridge} .",
        "a piece of blue water goes through {beside} .",
    ),
    "Junction": (
        "{n} roads meet at a junction with {cars} cars and {beside} beside it .",
        "{cars} cars are on a crossing of {n} roads .",
        "{beside} are beside a road junction with white markings .",
        "a junction of {n} grey roads next to {beside} .",
        "some roads cross each other .",
    ),
    "SportsField": (
        "{n} {kind} fields are surrounded by {beside} .",
        "there are {n} {kind} courts with white lines .",
        "{kind} fields with white lines beside {beside} .",
        "{n} {kind} grounds lie next to {beside} .",
        "some sports fields are surrounded by grass .",
    ),
}  # fmt: skip


def captions(label: str, facts: Mapping[str, str | int], rng: np.random.Generator) -> tuple[str, ...]:
    """Return five captions of a scene; now and then one is repeated, as annotators pad theirs.

    Args:
        label: Its class.
        facts: Fields of the class's templates; numbers are written out.
        rng: Chooses templates.

    Example:
        >>> captions("Farmland", {"count": 3, "colour": "green", "other": "brown"}, np.random.default_rng(0))[0]
        'green fields lie beside brown fields .'
    """
    words = {key: NUMBERS[value] if isinstance(value, int) else value for key, value in facts.items()}
    words["n"] = words.get("count", "")
    if words["n"] == "one":
        words["n"] = "one single"
    order = rng.permutation(len(TEMPLATES[label]))
    chosen = [TEMPLATES[label][index].format(**words) for index in order[:5]]
    if rng.random() < 0.3:
        chosen[-1] = chosen[0]
    return tuple(" ".join(caption.replace("with nothing", "with nothing else").split()) for caption in chosen)
