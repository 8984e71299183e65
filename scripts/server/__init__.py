"""Running TorchServe as a child process: find Java, start, wait until models can answer, stop."""
