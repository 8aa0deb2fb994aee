"""Records and published numbers in, pictures and tables out. Computes no result and runs no model."""
