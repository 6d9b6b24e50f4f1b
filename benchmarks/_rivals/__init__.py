"""What `benchmarks.training`, `.sasrec` and `.index` compare: each contestant is a program of its own.

A program is started with a task as JSON, makes itself ready, and then measures one round whenever it is asked to. So
several take turns on the same machine, each in its own environment, with memory and CPU time that are nobody else's.
"""
