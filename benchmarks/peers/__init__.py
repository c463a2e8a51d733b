"""How long the same job takes other tools: interleaved runs on one machine, medians and ratios."""
