"""Fast inference: the network of `model.py` without what need not be computed."""
