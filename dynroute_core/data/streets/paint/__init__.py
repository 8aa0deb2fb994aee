"""How the things of a street scene look."""
