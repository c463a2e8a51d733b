"""What is compared by `maelio.benchmarks.peers.stream`, each a script of its own: a tool as its documentation shows it."""
