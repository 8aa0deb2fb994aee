"""The compiled CPU kernels: built, called, and what they compute in plain torch."""
