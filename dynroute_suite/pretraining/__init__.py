"""Pre-training of a row's backbone on ImageNet."""
