"""A trained network on images: how often it is right, on which classes, and what it mistakes."""
