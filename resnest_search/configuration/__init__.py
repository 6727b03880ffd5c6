"""What may be said to a run: the typed schema, how words become it, and what is refused."""
