"""Weights from files, and the parameter names of the released checkpoints."""
