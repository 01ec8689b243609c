"""Run a model file: the interpreter, a separate process for untrusted files, and latency."""
