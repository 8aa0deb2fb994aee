"""Data sets of street scenes: Cityscapes, CamVid, and scenes generated on the spot."""
