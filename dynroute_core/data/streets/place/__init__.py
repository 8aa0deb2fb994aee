"""What stands where in a street scene."""
