"""The command line of `reproduce.py`: its options, what one call is to do, and what it says at the end."""
