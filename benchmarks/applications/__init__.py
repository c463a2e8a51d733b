"""The models of the six MAELSTROM applications, as torch modules of fields and columns in their own units."""
