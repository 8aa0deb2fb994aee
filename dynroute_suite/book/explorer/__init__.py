"""The route explorer: its data and its page."""
