"""From an experiment to a record: the pipeline, what it leaves, and how a finished run is opened."""
