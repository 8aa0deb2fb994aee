"""Rows and seeds handed over to a cluster."""
