"""The pages on gates and data."""

from __future__ import annotations

from dynroute_core.data.labels import CITYSCAPES_LABELS
from dynroute_suite.book.pages import inside
from support.markdown_tables import column


def test_the_class_table_is_the_label_table() -> None:
    assert column(inside.data_classes(), 0) == [label.name for label in CITYSCAPES_LABELS]
