"""What ranx says of a ranking: `python -m tests.ranx_scores < in.json > out.json`, with NUMBA_DISABLE_JIT=1.

A program of its own, since only the environment can choose plain Python over a minute of compiling ranx.
In: `qrels` and `run` as ranx takes them, `metrics`. Out: user by user, by metric.
"""

import json
import sys

from ranx import Qrels, Run, evaluate

if __name__ == "__main__":
    given = json.load(sys.stdin)
    run = Run(given["run"])
    evaluate(Qrels(given["qrels"]), run, given["metrics"], make_comparable=True)
    json.dump({metric: {u: float(s) for u, s in scores.items()} for metric, scores in run.scores.items()}, sys.stdout)
