"""Benchmarks: one runnable module per metric, peers side by side in the same run.

``python -m benchmarks`` runs a short form of all of them and prints ratios against targets; ``--full`` the long one;
``--only 1,2b`` some. Every module also runs by itself::

    python -m benchmarks.fanout_plan --people 1500000 --pairs 7 --json FILE

Machines differ and are noisy, so what is published is a ratio measured side by side, pair by pair, never a bare
figure. Results are merged into ``benchmarks/results/latest.json``; ``python -m benchmarks.report`` draws them and
writes ``docs/performance.md``.
"""
