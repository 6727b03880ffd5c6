"""What is told of a sweep, and to whom."""
