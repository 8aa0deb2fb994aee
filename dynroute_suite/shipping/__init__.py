"""Makes a finished run's weights ship with the repository."""
