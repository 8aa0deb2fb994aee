"""A figure as pixels: everything stands where the drawing says, in its colour, and what cannot be drawn is refused."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from dynroute_suite.figures import svg
from dynroute_suite.figures.raster import MARGIN, png
from dynroute_suite.figures.style import Picture, data_uri, svg_picture

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)
WIDE, HIGH = 160.0, 60.0


def pixels(body: str) -> npt.NDArray[np.uint8]:
    """A drawing of 160 × 60 units, a pixel a unit, without its margin."""
    shown = svg_picture(body, width=WIDE, height=HIGH, alt="a drawing")
    picture = Image.open(io.BytesIO(png(shown, width_px=int(WIDE + 2 * MARGIN)))).convert("RGB")
    whole = np.asarray(picture)
    assert whole.shape[:2] == (HIGH + 2 * MARGIN, WIDE + 2 * MARGIN)
    edge = int(MARGIN)
    assert (whole[:edge] == 255).all() and (whole[:, :edge] == 255).all()
    return whole[edge:-edge, edge:-edge]


def test_shapes_stand_where_they_are_drawn() -> None:
    body = (
        svg.element("rect", {"x": 10, "y": 20, "width": 20, "height": 10, "fill": "#ff0000"})
        + svg.element("circle", {"cx": 60, "cy": 30, "r": 8, "fill": "#008000"})
        + svg.element("path", {"d": "M80 10H100V30L80 30Z", "fill": "#0000ff"})
        + svg.element("path", {"d": "M110 10C110 40 140 40 140 10", "fill": "none", "stroke": "#ff0000"})
    )
    drawn = pixels(body)
    assert tuple(drawn[25, 20]) == RED and tuple(drawn[17, 20]) == WHITE and tuple(drawn[25, 33]) == WHITE
    assert tuple(drawn[30, 60]) == GREEN and tuple(drawn[30, 70]) == WHITE
    assert tuple(drawn[20, 90]) == BLUE and tuple(drawn[35, 90]) == WHITE
    # A cubic from (110, 10) to (140, 10) by controls at y = 40 is lowest at (125, 10 + 3/4 · 30).
    column = drawn[:, 125, 1]
    assert abs(int(column.argmin()) - 32) <= 1 and column[:30].min() == 255


def test_groups_move_and_hand_down_what_they_hold() -> None:
    inner = svg.element("rect", {"x": 0, "y": 0, "width": 10, "height": 10})
    drawn = pixels(svg.element("g", {"transform": "translate(50 20)", "fill": "#0000ff"}, inner))
    assert tuple(drawn[25, 55]) == BLUE and tuple(drawn[5, 5]) == WHITE


def test_what_comes_later_lies_above() -> None:
    place: dict[str, svg.Value] = {"x": 10, "y": 10, "width": 30, "height": 30}
    photo = io.BytesIO()
    Image.new("RGB", (3, 3), RED).save(photo, "PNG")
    image = svg.element("image", {**place, "href": data_uri("png", photo.getvalue())})
    patch = svg.element("rect", {**place, "width": 15, "fill": "#0000ff"})
    assert [tuple(pixels(image + patch)[25, x]) for x in (15, 35)] == [BLUE, RED]
    assert [tuple(pixels(patch + image)[25, x]) for x in (15, 35)] == [RED, RED]


def test_text_begins_or_ends_where_it_says() -> None:
    for anchor, dark in (("start", slice(80, 130)), ("end", slice(30, 80))):
        drawn = pixels(svg.text(80, 40, "mmm", size=16, anchor=anchor))  # type: ignore[arg-type]  # of a loop
        rows, columns = np.nonzero(drawn.min(axis=2) < 128)
        assert rows.max() <= 40 and rows.min() >= 24, "a line stands on its baseline and is as high as its letters"
        assert columns.min() >= dark.start and columns.max() <= dark.stop


def test_the_text_alternative_goes_along() -> None:
    shown = svg_picture(svg.element("circle", {"r": 5}), width=40, height=30, alt="Ein Kreis: über alles")
    made = Image.open(io.BytesIO(png(shown, width_px=80)))
    assert made.info["Description"] == "Ein Kreis: über alles"
    assert png(shown, width_px=80) == png(shown, width_px=80)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<ellipse/>", "<ellipse> cannot be drawn"),
        ('<path d="M0 0Q1 1 2 2"/>', "only M L H V C Z h can"),
        ('<path d="M0 0L1 2 3 4"/>', "L takes 2 numbers, not 4"),
        ('<g transform="scale(2)"/>', "only translate"),
    ],
)
def test_what_cannot_be_drawn_is_refused(body: str, said: str) -> None:
    shown = Picture(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">{body}</svg>', "nothing")
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        png(shown, width_px=9)
