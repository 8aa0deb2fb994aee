"""Looking at a network at work: pictures in, segmentation, route, cost and time out. `panel.py` puts it on a screen."""
