"""Trainings that anyone can repeat: what is fixed, what may be changed, and what counts as success."""
