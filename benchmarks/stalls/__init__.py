"""What a data path costs a training: arms that differ in where their batches come from, measured in turn."""
