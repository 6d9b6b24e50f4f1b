"""Watches that came in after the release was trained: kept in one SQLite file, or in Redis. Knows no HTTP."""
