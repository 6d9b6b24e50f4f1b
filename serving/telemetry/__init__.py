"""What is seen of a server: counts for Prometheus, lines of log, traces, and a closer look at a few answers."""
