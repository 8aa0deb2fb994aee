"""The pictures that a run keeps of its examples, made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from dynroute_core.runs.record import EXAMPLES, Record, example_names


def write_examples(folder: Path, record: Record) -> None:
    """Examples of 40×80 pixels below a run's folder: the left half wrong, the top rows ignored."""
    truth = np.zeros((40, 80), np.uint8)
    truth[:10] = 255
    prediction = np.zeros_like(truth)
    prediction[:, :40] = 13
    photo = np.arange(40 * 80 * 3, dtype=np.uint32).reshape(40, 80, 3).astype(np.uint8)
    for role in example_names(record):
        place = folder / EXAMPLES / role
        place.mkdir(parents=True)
        for name, pixels in (("image", photo), ("truth", truth), ("prediction", prediction)):
            Image.fromarray(pixels).save(place / f"{name}.png")
