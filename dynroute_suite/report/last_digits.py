"""Whether a run, done again, gives the same digits: what its record says of the step that trained it."""

from __future__ import annotations

from dynroute_core.runs.record import TrainingFacts

SENTENCES = {
    "eager": "It was trained by torch's own step: another number of threads gives other last digits.",
    "compiled": "It was trained by the compiled step: the same bits for any number of threads.",
}


def last_digits(training: TrainingFacts) -> str:
    """One sentence; "" where nothing was trained, or the record is older than the choice of a step."""
    return SENTENCES.get(training.step or "", "") if training.iterations else ""
