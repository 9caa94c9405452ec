"""Toy chest films with the parts the chest probe looks for: a body, two dark lungs, a heart, perhaps an opacity."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter


def film(seed: int, lesion: tuple[int, int] | None = None, shift: tuple[int, int] = (0, 0)) -> np.ndarray:
    """uint8 [128, 128]: a body with two dark lungs and a heart, perhaps an opacity at (row, column)."""
    rng = np.random.default_rng([seed])
    rows, columns = np.mgrid[0:128, 0:128] - np.array(shift)[:, None, None]
    picture = np.full((128, 128), 40.0)
    picture[np.abs(columns - 64) < 55] = 170
    for centre in (38, 90):
        picture[((rows - 58) / 38) ** 2 + ((columns - centre) / 17) ** 2 < 1] = 80
    picture[((rows - 84) / 20) ** 2 + ((columns - 74) / 18) ** 2 < 1] = 190
    picture = gaussian_filter(picture, 2) + 6 * gaussian_filter(rng.standard_normal((128, 128)), 3) * 3
    if lesion is not None:
        spot = (rows - lesion[0]) ** 2 + (columns - lesion[1]) ** 2
        picture += 70 * np.exp(-spot / (2 * 7.0**2))
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def film_dataset(folder: Path, patients: int = 40) -> Path:
    """Films with and without an opacity in both projections; AP films are darker and lie higher."""
    rows = []
    rng = np.random.default_rng(5)
    for number in range(patients * 2):
        sick, ap = number % 2 == 0, number % 4 < 2
        place = (int(rng.integers(45, 75)), int(rng.choice([38, 90])))
        shift = (-6 if ap else 4, int(rng.integers(-4, 5)))
        image = film(number, place if sick else None, shift)
        image = (image * 0.7).astype(np.uint8) if ap else image
        Image.fromarray(image).save(folder / f"{number}.png")
        row, column = place[0] + shift[0], place[1] + shift[1]
        box = {"xyxy": [column - 10, row - 10, column + 10, row + 10], "label": "Opacity"}
        told: dict[str, object] = {"file": f"{number}.png", "patient_id": number, "view": "AP" if ap else "PA"}
        rows.append({**told, "boxes": [box]} if sick else {**told, "boxes": [], "rsna_class": "Normal"})
    path = folder / "annotations.json"
    path.write_text(json.dumps(rows))
    return path
