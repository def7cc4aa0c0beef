"""Captions of a scene's facts, in the manner of the field's sets: short, plain, from precise to vague; all are true."""

import re
from collections.abc import Mapping

import numpy as np

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Words that say the same; a template names a set as [near].
CHOICES = {
    "near": ("beside", "next to", "near", "close to"),
    "around": ("around", "nearby", "on all sides"),
    "see": ("there is", "we can see", "the image shows", "this is"),
    "see_all": ("there are", "we can see", "the image shows", "these are"),
    "stand": ("stand", "are", "can be seen"),
    "white": ("white", "clear white", "bright white", "painted"),
    "roads": ("roads", "streets", "grey roads"),
}

# Fields are the scene's facts. A number is written out, or chooses a form: {count:plane|planes}. {some} is a vague
# count. [a|b] is either. What {feature: with *} says is left out where there is none.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "Airport": (
        "{count} {colour} {count:plane is|planes are} parked on [an apron|a grey apron|concrete] [near] {beside} .",
        "an airport [apron|ramp] with {count} {colour} {count:plane|planes} [near] {beside} .",
        "{some} {colour} {count:plane stands|planes stand} [near] {beside} [at an airport|on concrete] .",
        "{some} {colour} {count:plane|planes} on a [grey|wide|long] concrete apron [near] {beside} .",
        "{count} {colour} {count:plane is|planes are} parked [in|at] [an airport|the airport] .",
        "[see] an [apron|airport] with {some} {count:plane|planes} and {beside} [around|beside it|nearby] .",
        "{some} [parked|standing|waiting] {count:plane|planes} in {colour} on [concrete|the apron] [near] {beside} .",
    ),
    "Beach": (
        "a [yellow|sandy|wide] beach with [water|the sea] at the {side}{feature: and * behind the sand} .",
        "[white waves|waves|a line of white waves] at the {side} of a [yellow|sandy|light] beach{feature: with *} .",
        "[yellow|light|dry] sand{feature: with *} and [blue|dark blue|calm] water at the {side} .",
        "the [sea|blue sea|ocean|water] is at the {side} of a [beach|sandy beach|yellow beach]{feature: with *} .",
        "[white foam|foam|a white line] between [sand|a beach]{feature: with *} and the [water|sea] at the {side} .",
        "[see] a [sandy|yellow|light|wide] beach{feature: with *} and [water|the sea|blue water] at the {side} .",
        "[blue water|the sea|the ocean] [meets|touches] a [yellow|sandy|wide] beach at the {side}{feature: near *} .",
    ),
    "Farmland": (
        "{count} [strips|long strips|pieces] of {colour} and {other} [farmland|fields|crops] .",
        "a {colour} field [lies|is] [near] a {other} field among {count} [strips|pieces] of farmland .",
        "{colour} fields lie [near] {other} fields in {count} [narrow|straight|long] strips .",
        "farmland [with|in|of] {count} [long|straight] strips , some {other} and the others {colour} .",
        "[see_all] {count} [strips|pieces] of farmland in {colour} and {other} .",
        "{other} and {colour} [crops|fields|strips] [alternate|take turns] in {count} [strips|rows] of farmland .",
        "{some} [long|straight|farm] fields in {colour} and {other} [side by side|next to each other|together] .",
    ),
    "Forest": (
        "a {amount} [forest|wood] on {ground} [ground|land]{feature: with * going through} .",
        "{amount} [green|dark|round] trees [stand|grow] on {ground} [ground|land]{feature: with * between them} .",
        "a {amount} [forest|wood] of [dark|green|round] trees on {ground} [ground|soil]{feature: and * in it} .",
        "[see_all] {amount} [trees|dark trees|green trees] on {ground} [land|ground]{feature: and * among them} .",
        "{ground} [ground|land] [under|between] the trees of a {amount} [forest|wood]{feature: beside *} .",
        "{amount} [green trees|dark trees|trees] cover {ground} [ground|land]{feature: on both sides of *} .",
        "[see] a {amount} [forest|wood] with {ground} [ground|land] among trees{feature: and *} .",
    ),
    "Harbour": (
        "{count} {colour} {count:ship is|ships are} [docked|moored] at {beside} on the {side} .",
        "a [harbour|port] with {count} {colour} {count:ship|ships} [near] a [quay|concrete quay] .",
        "{some} {colour} {count:ship is|ships are} docked at {count:a pier|piers} in [blue|calm|dark] water .",
        "the quay is on the {side} and {count} {colour} {count:ship is|ships are} [docked|moored] there .",
        "{count} {count:ship is|ships are} [docked|moored] in a [harbour|port] with the quay on the {side} .",
        "{some} {colour} {count:ship|ships} in a [port|harbour] with a [quay|concrete quay] on the {side} .",
        "in a [port|harbour] , {count} {colour} {count:ship lies|ships lie} [near] {count:a pier|piers} and a quay .",
    ),
    "Junction": (
        "{count} [roads] meet at a [junction|crossing] with {cars} {cars:car|cars} and {beside} [near] it .",
        "{cars} {cars:car is|cars are} on a [crossing|junction] of {count} [roads] [near] {beside} .",
        "{beside} are [near] a road junction of {count} roads with [white|zebra|painted] markings .",
        "a [junction|crossing] of {count} [roads] with {cars} {cars:car|cars} [near] {beside} .",
        "[see] a [junction|crossing] with {cars} {cars:car|cars} and {beside} [around|near it] .",
        "{count} [roads] with [zebra crossings|white stripes|dashed lines] meet [near] {beside} .",
        "{cars} {cars:car|cars} and {beside} [at|near] a [junction|crossing] of {count} [roads] .",
    ),
    "Parking": (
        "{amount} cars [are parked|stand|are] in {count} [rows|lines|long rows] with trees [at|along] the {side} .",
        "a [parking lot|grey parking lot|car park] for parking in {count} [rows|lines] with {amount} cars .",
        "{amount} cars are parked on [grey|dark|plain] asphalt [near] [trees|a row of trees] at the {side} .",
        "trees [stand|grow] at the {side} of a parking lot with {count} [rows|lines] and {amount} cars .",
        "{amount} cars [use|occupy|are parked in] {count} rows of ten parking [places|spaces] [each|side by side] .",
        "[see] a [grey|wide|marked] parking lot with {amount} cars and trees [at|along] the {side} .",
        "[see_all] {count} rows of parking [places|spaces] [used|occupied|taken] by {amount} cars .",
    ),
    "Residential": (
        "[rows|lines] of houses with {colour} roofs on {ground} ground in a {amount} residential area .",
        "houses with {colour} roofs [stand] along {count} [roads] on {ground} [ground|land] .",
        "a {amount} residential area with {colour} roofs , {trees} [green trees|trees] and {count} [roads] .",
        "{colour} roofed houses are arranged [along|beside] {count} [straight|parallel|grey] [roads|streets] .",
        "[neat|similar|equal] houses with {colour} roofs and {trees} [trees|green trees] on {ground} [ground|land] .",
        "a {amount} residential area on {ground} [ground|land] with {count} [parallel|straight] [roads|streets] .",
        "{trees} trees [stand] among houses with {colour} roofs [along|beside] {count} [roads] .",
    ),
    "River": (
        "a [river|blue river] with {count} {count:boat|boats} [flows|runs] {way} between {beside} .",
        "a [curved|winding|blue] river with {bridge} and {count} {count:boat|boats} [near] {beside} .",
        "a [blue|wide|curved] river with {bridge} [flows|runs] {way} [near] {beside} .",
        "{beside} are on both sides of a [river|winding river] with {bridge} and {count} {count:boat|boats} .",
        "{count} {count:boat is|boats are} on a [river|blue river|wide river] with {bridge} between {beside} .",
        "a river with {bridge} [winds|bends|turns] {way} [through|between|among] {beside} .",
        "[see] a [river|winding river] with {beside} on [its|both] banks and {count} {count:boat|boats} .",
    ),
    "Roundabout": (
        "a roundabout with {count} [roads] , a {colour} [middle|island] and {cars} {cars:car|cars} .",
        "{count} [roads] meet at a roundabout with a {colour} [middle|island] on {ground} ground .",
        "{cars} {cars:car drives|cars drive} around a {colour} island of a roundabout [near] {ground} [ground|land] .",
        "a circular road with {count} arms and a {colour} [middle|island] on {ground} [ground|land] .",
        "[see] a [roundabout|circular road] with {cars} {cars:car|cars} and {count} [roads] .",
        "a {colour} [island|circle] is the middle of a roundabout with {cars} {cars:car|cars} and {count} [roads] .",
        "{count} [roads] [lead|run] to a [round|circular] {colour} island with {cars} {cars:car|cars} around it .",
    ),
    "Runway": (
        "a {surface} runway with [white] markings and {planes} {colour} {planes:plane|planes} on it .",
        "{planes} {colour} {planes:plane|planes} on a [long|straight|wide] runway [near] {beside} .",
        "a [straight|long|wide] {surface} runway with {planes} {planes:plane|planes} is surrounded by {beside} .",
        "a {surface} runway and {taxiways} {taxiways:taxiway|taxiways} [near] {beside} .",
        "[white] stripes [mark|are at] the end of a {surface} runway with {planes} {planes:plane|planes} .",
        "{planes} {colour} {planes:plane|planes} and {taxiways} {taxiways:taxiway|taxiways} of a {surface} runway .",
        "[part|a piece] of an airport with a runway , {taxiways} {taxiways:taxiway|taxiways} and {beside} .",
    ),
    "SportsField": (
        "{count} {kind} {court}{count: is|s are} surrounded by [plain|short|open] {beside} .",
        "{count:there is|there are} {count} {kind} {court}{count:|s} with [white] lines [near] {beside} .",
        "{some} {kind} {court}{count:|s} with [white] lines [near] {beside} .",
        "{count} {kind} {court}{count: lies|s lie} [near|in the middle of|in] {beside} .",
        "{some} [marked|neat|rectangular] {kind} {court}{count:|s} with [white] lines [on|in] {beside} .",
        "[short|plain|open] {beside} [around|on all sides of] {count} [marked|neat] {kind} {court}{count:|s} .",
        "{count} [rectangular|marked|neat] {kind} {court}{count:|s} and {beside} [around|beside|nearby] .",
    ),
    "StorageTanks": (
        "{count} {colour} storage tanks are surrounded by [plain|short|open] {beside} .",
        "{count} [round|circular|big] {colour} tanks stand on bare ground [near] {beside} .",
        "{some} {colour} storage tanks [of the same size|of equal size] stand close together [near] {beside} .",
        "there are {count} {colour} [storage tanks|round tanks|circular tanks] [near|not far from] {beside} .",
        "{some} {colour} tanks cast [dark shadows|shadows|round shadows] on ground [near] {beside} .",
        "{count} {colour} [tanks|storage tanks] [stand in order|stand close together] with {beside} [around|nearby] .",
        "a [yard|square] of bare ground with {count} {colour} [tanks|storage tanks] on it , {beside} [around] .",
    ),
}  # fmt: skip

# What holds for every scene of a class; some annotators write no more than that.
VAGUE = {
    "Airport": "a concrete apron of an airport with open ground on both sides .",
    "Beach": "a piece of yellow beach is near the blue water .",
    "Farmland": "many pieces of farmland are together .",
    "Forest": "many green trees are in a forest .",
    "Harbour": "a concrete quay lies beside the blue water of a port .",
    "Junction": "some roads meet at a junction with white markings .",
    "Parking": "cars are parked between white lines in a parking lot .",
    "Residential": "many houses and trees are in a residential area .",
    "River": "a piece of blue river winds through the land .",
    "Roundabout": "some roads meet at a roundabout .",
    "Runway": "a straight runway crosses the picture .",
    "SportsField": "a sports ground with white lines .",
    "StorageTanks": "some storage tanks cast shadows on the ground .",
}
_VAGUE_SHARE = 0.2  # of the scenes have one vague caption


class _Number(int):
    """A number that is written out, or chooses between two forms: ``f"{n:car|cars}"``."""

    def __format__(self, forms: str) -> str:
        if not forms:
            return NUMBERS[self]
        return forms.split("|")[self != 1]


class _Feature(str):
    """What a scene may lack; ``f"{feature: with *}"`` is left out where it is nothing."""

    __slots__ = ()

    def __format__(self, phrase: str) -> str:
        return "" if self == "nothing" else phrase.replace("*", self)


def captions(label: str, facts: Mapping[str, str | int], rng: np.random.Generator) -> tuple[str, ...]:
    """Return five captions of a scene, no two alike.

    Args:
        label: Its class.
        facts: Fields of the class's templates; numbers are written out.
        rng: Chooses templates and words.

    Example:
        >>> captions("Farmland", {"count": 3, "colour": "green", "other": "brown"}, np.random.default_rng(0))[0]
        'green fields lie beside brown fields in three long strips .'
    """
    words: dict[str, str | int] = {
        key: _Number(value) if isinstance(value, int) else _Feature(value) if key == "feature" else value
        for key, value in facts.items()
    }
    count = facts.get("count")
    words["some"] = "a" if count == 1 else "many" if isinstance(count, int) and count > 4 else "some"
    order = rng.permutation(len(TEMPLATES[label]))[:5]
    chosen = [_filled(TEMPLATES[label][position], words, rng) for position in order]
    if rng.random() < _VAGUE_SHARE:
        chosen[-1] = VAGUE[label]
    return tuple(chosen)


def _filled(template: str, words: Mapping[str, str | int], rng: np.random.Generator) -> str:
    def one(match: re.Match[str]) -> str:
        return str(rng.choice(CHOICES.get(match[1]) or match[1].split("|")))

    return re.sub(r"\[([^\]]*)\]", one, template).format(**words)
