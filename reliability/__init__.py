"""What must hold when things go wrong: scripts that break a real server and look at what is left."""
