"""What a trial will end at, how sure that is, and what it is worth to the front."""
