"""How far every run is."""
