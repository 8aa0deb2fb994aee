"""The paired bootstrap, against a case whose answer is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from dynroute_core.space import ModelConfig
from dynroute_core.system.errors import UsageError
from dynroute_suite.report.bootstrap import counts_of, miou_percent, paired_difference
from support.sample_records import sample_routes

IMAGES, PIXELS = 400, 1000.0


def one_class(shares: np.ndarray) -> np.ndarray:
    """Counts of one class whose union is the same in every image: IoU over images is then a plain mean of shares."""
    hit = shares * PIXELS
    return np.stack([hit, PIXELS - hit, np.zeros_like(hit)])[:, :, None]


def test_the_interval_is_the_one_of_a_mean_of_differences() -> None:
    random = np.random.default_rng(7)
    a, b = random.uniform(0.2, 0.9, IMAGES), random.uniform(0.1, 0.8, IMAGES)
    found = paired_difference(one_class(a), one_class(b), resamples=20_000)
    differences = 100 * (a - b)
    error = differences.std() / IMAGES**0.5
    assert found.points == pytest.approx(differences.mean(), rel=1e-12)
    # A quantile of 20 000 resamples wanders by about 0.02 standard errors; the normal limit is off by less at n = 400.
    assert found.low == pytest.approx(differences.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(differences.mean() + 1.96 * error, abs=0.1 * error)
    assert found.clear
    assert found.share_above == 1


def test_a_network_does_not_differ_from_itself() -> None:
    counts = one_class(np.linspace(0.1, 0.9, 20))
    found = paired_difference(counts, counts)
    assert (found.points, found.low, found.high, found.share_above) == (0, 0, 0, 0)
    assert not found.clear


def test_pairing_narrows_the_interval() -> None:
    hard = np.random.default_rng(1).uniform(0.1, 0.9, IMAGES)
    better = one_class(np.minimum(hard + 0.01, 1))
    paired = paired_difference(better, one_class(hard))
    unpaired = paired_difference(better, one_class(hard[::-1]))
    assert paired.clear
    assert not unpaired.clear


def test_the_same_seed_gives_the_same_interval() -> None:
    a, b = one_class(np.linspace(0, 1, 9)), one_class(np.linspace(0.1, 0.7, 9))
    assert paired_difference(a, b) == paired_difference(a, b)
    assert paired_difference(a, b) != paired_difference(a, b, seed=1)


def test_classes_that_never_occur_do_not_count() -> None:
    counts = np.zeros((3, 2, 3))
    counts[0, :, 0] = 10
    counts[1, :, 1] = 10
    assert miou_percent(counts, np.ones((1, 2))) == pytest.approx([50.0])


def test_counts_come_in_the_order_asked_for() -> None:
    routes = sample_routes(ModelConfig(layers=4, channels=4), images=3)
    names = [image.name for image in routes.images]
    assert counts_of(routes, names[::-1]).shape == (3, 3, 19)
    with pytest.raises(UsageError, match="lack the image 'nowhere'"):
        counts_of(routes, [*names, "nowhere"])


def test_other_images_are_refused() -> None:
    with pytest.raises(UsageError, match="needs the same ones"):
        paired_difference(one_class(np.ones(3)), one_class(np.ones(4)))
