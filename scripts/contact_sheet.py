"""Write docs/images/scenes.png: five synthetic scenes of each class.

python scripts/contact_sheet.py
"""

from pathlib import Path

from eotune.data.scenes import CLASSES, contact_sheet, render

TARGET = Path(__file__).parents[1] / "docs" / "images" / "scenes.png"


def main() -> None:
    scenes = [render(label, seed, size=112).image for label in CLASSES for seed in range(4)]
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(scenes, columns=8).quantize(192).save(TARGET, optimize=True)
    print(f"{TARGET}: {TARGET.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
