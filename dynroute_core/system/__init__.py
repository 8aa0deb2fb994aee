"""What every part needs of the machine: errors, files, locks, provenance. Holds nothing of the paper."""
