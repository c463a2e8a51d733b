"""What a data path costs a training: models, measured loops, reports."""
