"""Complete runs: from data to a bundle."""
