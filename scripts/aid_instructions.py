"""Write questions and answers about captioned, classed images in LLaVA's layout: train.json, val.json and test.json.

    python scripts/aid_instructions.py ../shared/data/aid_rsicd_subset/captions_subset.jsonl OUT

Four kinds have a short answer: the class by its name (`class`), one of four names (`choice`), yes or no to a name
(`is_class`) and to an object (`presence`); the fifth, training's alone, is a caption. An object is there where a
caption names it, and is not where no caption does and hardly an image of the class has it. To each object and each
name, yes and no are equally often right. A tenth of training's records say again what others say, half of them word for
word.

Counts and colours are not asked for: "on two sides of", and fields that are green wherever they are, make no clean
answer.
"""

import argparse
import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eotune.core.files import write_json
from eotune.core.seeds import generator

SIZES = {
    "train": {"class": 1400, "choice": 900, "is_class": 1000, "presence": 1800, "caption": 300},
    "val": {"class": 150, "choice": 100, "is_class": 150, "presence": 200},
    "test": {"class": 500, "choice": 300, "is_class": 500, "presence": 700},
}
REPEATS = {"train": 600}
WORDINGS = {
    "class": (
        "What kind of place is this?",
        "Name the kind of place in this image.",
        "Which kind of place does the image show?",
    ),
    "choice": ("Which of these is it: {}?", "Which of these does the image show: {}?"),
    "is_class": ("Is this place {}?", "Would you call this place {}?", "Does this place look like {}?"),
    "presence": ("Can you see {} here?", "Does the image contain {}?", "Has the image {} in it?"),
    "caption": ("Describe the image in one sentence.", "What does the image show?"),
}
# What is asked for, and how captions say it.
OBJECTS = {
    "trees": r"trees?|woods|forests?",
    "buildings": r"buildings?|houses?|factory|factories|terminals?",
    "cars": r"cars?|vehicles?|parking lots?",
    "rivers": r"rivers?|streams?|waterways?",
    "ponds": r"ponds?|lakes?|fish pits?",
    "boats": r"boats?|ships?|yachts?",
    "planes": r"(air|aero)?planes?|aircrafts?",
    "bridges": r"bridges?",
    "swimming pools": r"pools?",
    "storage tanks": r"storage ?tanks?|tanks?|oil tanks?",
    "railways": r"railways?|rails?|trains?|tracks?",
    "mountains": r"mountains?|hills?|ridges?",
    "sea water": r"waves?|spray|ripples|sea|ocean|beach(es)?",
    "baseball fields": r"baseball ?fields?|baseball diamonds?",
    "football fields": r"(football|soccer) ?fields?|playgrounds?|stadiums?",
    "tennis courts": r"(tennis|basketball) ?(courts?|fields?)|courts?",
    "farmlands": r"farmlands?|farms?|crops?",
    "sand": r"sands?|desert|dunes?|bare ?lands?|beach(es)?",
}
RARE = 0.02  # share of a class's images that may have an object which is said to be in none of the others


@dataclass(frozen=True)
class Image:
    """One image: its path, the name of its class, its captions, and what these name of :data:`OBJECTS`."""

    path: str
    name: str
    captions: tuple[str, ...]
    objects: frozenset[str]


@dataclass(frozen=True)
class Record:
    """One question: its kind, wording and what goes into it, and the answer."""

    image: str
    kind: str
    wording: int
    asked: str
    answer: str

    @property
    def question(self) -> str:
        """As it is asked."""
        return WORDINGS[self.kind][self.wording].format(self.asked)


def read_images(path: Path) -> dict[str, list[Image]]:
    """Return the images of each split; "DenseResidential" becomes "dense residential"."""
    found: dict[str, list[Image]] = {split: [] for split in SIZES}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", row["label"]).lower()
        found[row["split"]].append(Image(row["image"], name, tuple(row["captions"]), named_objects(row["captions"])))
    return found


def named_objects(captions: Sequence[str]) -> frozenset[str]:
    """Return what captions name of :data:`OBJECTS`."""
    text = " ".join(captions).lower()
    return frozenset(name for name, forms in OBJECTS.items() if re.search(rf"\b({forms})\b", text))


def absent_objects(images: Sequence[Image]) -> dict[str, frozenset[str]]:
    """Return, for each class, the objects that hardly any of its images has."""
    sizes = Counter(image.name for image in images)
    seen = Counter((image.name, name) for image in images for name in image.objects)
    return {
        one: frozenset(name for name in OBJECTS if seen[one, name] < RARE * size) for one, size in sorted(sizes.items())
    }


def records(images: Sequence[Image], split: str, absent: Mapping[str, frozenset[str]]) -> list[Record]:
    """Return the records of a split, in a random order that is always the same."""
    # Kinds that any image answers take images in turn, so that each is asked about before one is twice.
    turns = itertools.cycle(generator("aid-instructions", split, "images").permutation(len(images)).tolist())
    made: list[Record] = []
    for kind, count in SIZES[split].items():
        rng = generator("aid-instructions", split, kind)
        if kind == "presence":
            made += _presence(images, absent, count, rng)
        elif kind == "is_class":
            made += _is_class(images, sorted(absent), count, rng)
        else:
            made += [_named(images[at], kind, sorted(absent), rng) for at in itertools.islice(turns, count)]
    rng = generator("aid-instructions", split, "order")
    repeated = [made[int(at)] for at in rng.permutation(len(made))[: REPEATS.get(split, 0)]]
    made += [one if number % 2 else _reworded(one) for number, one in enumerate(repeated)]
    return [made[int(at)] for at in rng.permutation(len(made))]


def _named(image: Image, kind: str, names: Sequence[str], rng: np.random.Generator) -> Record:
    """Ask for the class, for one of four classes, or for a caption."""
    wording = int(rng.integers(len(WORDINGS[kind])))
    if kind == "caption":
        return Record(image.path, kind, wording, "", str(rng.choice(image.captions)))
    others = rng.choice([name for name in names if name != image.name], 3, replace=False)
    options = rng.permutation([image.name, *others]).tolist()
    asked = f"{', '.join(options[:3])} or {options[3]}" if kind == "choice" else ""
    return Record(image.path, kind, wording, asked, image.name)


def _is_class(images: Sequence[Image], names: Sequence[str], count: int, rng: np.random.Generator) -> list[Record]:
    """Ask whether the image is of a class: each is asked for as often where it is right as where it is wrong."""
    made = []
    for number in range(count):
        name = names[number // 2 % len(names)]
        pool = [image for image in images if (image.name == name) == (number % 2 == 0)]
        made.append(_yes_or_no(pool, "is_class", name, number % 2 == 0, rng))
    return made


def _presence(
    images: Sequence[Image], absent: Mapping[str, frozenset[str]], count: int, rng: np.random.Generator
) -> list[Record]:
    """Ask for objects: each is asked for as often where it is as where it is not, with and without in turn."""
    pools = {
        name: (
            [image for image in images if name in image.objects],
            [image for image in images if name not in image.objects and name in absent[image.name]],
        )
        for name in OBJECTS
    }
    names = [name for name, (present, missing) in pools.items() if present and missing]
    return [
        _yes_or_no(pools[name][number % 2], "presence", name, number % 2 == 0, rng)
        for number in range(count)
        for name in [names[number // 2 % len(names)]]
    ]


def _yes_or_no(pool: Sequence[Image], kind: str, asked: str, right: bool, rng: np.random.Generator) -> Record:
    image = pool[int(rng.integers(len(pool)))]
    return Record(image.path, kind, int(rng.integers(len(WORDINGS[kind]))), asked, "yes" if right else "no")


def _reworded(record: Record) -> Record:
    return replace(record, wording=(record.wording + 1) % len(WORDINGS[record.kind]))


def conversation(number: int, record: Record) -> dict[str, object]:
    """Return a record in LLaVA's layout; its id tells its kind."""
    turns = [{"from": "human", "value": f"<image>\n{record.question}"}, {"from": "gpt", "value": record.answer}]
    return {"id": f"{number:04d}-{record.kind}", "image": record.image, "conversations": turns}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captions", type=Path, help="JSON Lines: image, label, split (train, val, test), captions")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    images = read_images(arguments.captions)
    absent = absent_objects(images["train"])
    arguments.out.mkdir(parents=True, exist_ok=True)
    for split, of_split in images.items():
        made = records(of_split, split, absent)
        write_json(arguments.out / f"{split}.json", [conversation(*one) for one in enumerate(made)])
        kinds = Counter(record.kind for record in made)
        asked_about = len({one.image for one in made})
        print(f"{split}: {len(made):,} records of {asked_about:,} images: {dict(sorted(kinds.items()))}")


if __name__ == "__main__":
    main()
