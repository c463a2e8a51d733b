"""torch streams over converted stores."""
