"""Numbers as pictures; every picture has a text alternative."""
