"""The close-up: one thing so near that it fills much of the picture."""

from __future__ import annotations

from functools import partial

from dynroute_core.data.streets.paint.fronts import Front
from dynroute_core.data.streets.paint.people import paint_person
from dynroute_core.data.streets.place.frontage import front_painter
from dynroute_core.data.streets.place.stage import Stage
from dynroute_core.data.streets.place.traffic import LENGTHS, place_cycle, place_vehicle

_SUBJECTS = (
    ("ahead", 2.6), ("beside", 1.6), ("across", 2.2), ("person", 1.6), ("rider", 1.4), ("tram", 0.8), ("barrier", 0.9),
)  # fmt: skip


def place_close_up(stage: Stage) -> None:
    """Choose and place the subject; nothing else is placed nearer than `stage.clear` afterwards."""
    dice, plan = stage.dice, stage.plan
    subject = dice.weighted(_SUBJECTS)
    kind = dice.weighted((("car", 3.4), ("bus", 1.3), ("truck", 1.3)))
    if subject == "ahead":
        gap = dice.uniform(4.0, 8.5)
        place_vehicle(stage, kind, dice.uniform(-0.5, 0.5), gap + LENGTHS[kind] / 2, (0.0, 1.0))
        stage.clear = 1.5
    elif subject == "beside":
        gap = dice.uniform(1.0, 4.0)
        sign = -1 if dice.chance(0.7) else 1
        direction = -1.0 if sign < 0 else 1.0
        place_vehicle(stage, kind, sign * dice.uniform(2.6, 3.3), gap + LENGTHS[kind] / 2, (0.0, direction))
    elif subject == "across":
        kind = dice.weighted((("car", 2.6), ("bus", 1.4), ("truck", 1.4), ("train", 1.4)))
        place_vehicle(stage, kind, dice.uniform(-4, 4), dice.uniform(6.5, 12.0), (dice.pick((-1.0, 1.0)), 0.0))
    elif subject == "tram":
        gap = dice.uniform(2.0, 6.0)
        place_vehicle(stage, "train", -dice.uniform(2.8, 3.6), gap + LENGTHS["train"] / 2, (0.0, -1.0))
    elif subject == "person":
        for _ in range(dice.between(1, 3)):
            x, z = dice.uniform(-1.6, 1.6), dice.uniform(2.4, 5.5)
            if stage.free(x, z, 0.35, 0.35):
                stage.put(z, partial(paint_person, x=x, z=z, base=0.0))
    elif subject == "rider":
        x, z = dice.uniform(-1.3, 1.3), dice.uniform(3.0, 6.0)
        stage.free(x, z, 0.9, 0.9)
        place_cycle(stage, x, z, 0.0, dice.uniform(0.2, 1.0), dice.chance(0.45), True)
    else:
        sign = dice.pick((-1, 1))
        x = sign * (plan.road.side(sign).kerb + 0.3)
        front = Front(dice.pick(("wall", "wall", "fence")), x, 0.0, dice.uniform(12, 40), dice.uniform(1.8, 3.4), 0.4)
        stage.put(-0.5, front_painter(front), behind=True)
