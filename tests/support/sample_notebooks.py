"""Executed notebooks as a run leaves them."""

from __future__ import annotations

from dynroute_suite.notebook import document


def failed_notebook(error: str, text: str) -> bytes:
    """A notebook as the runner leaves it where a cell raised."""
    raised: document.Output = {
        "output_type": "error",
        "ename": error,
        "evalue": text,
        "traceback": ["Traceback (most recent call last):", f"\x1b[31m{error}\x1b[0m: {text}"],
    }
    cells: list[document.Cell] = [
        {"id": "title", "cell_type": "markdown", "metadata": {}, "source": "# x"},
        {
            "id": "run",
            "cell_type": "code",
            "metadata": {},
            "source": "pipeline.run(chosen)",
            "outputs": [raised],
            "execution_count": 1,
        },
    ]
    whole: document.Notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return document.normalise(whole, document.Dress(title="x", failure=(error, text)))
