"""Running a file: the interpreter, a process of its own for untrusted files, latency."""
