"""Parts that end in other ways than by being done."""
