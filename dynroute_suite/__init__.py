"""From a command to runs, and from records to notebooks and book. Imports the core, never the other way."""
