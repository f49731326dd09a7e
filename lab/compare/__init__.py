"""`lab compare`, `lab diff`: compare architectures under the same rules for all.

commands   the command line
settings   what to compare: routes, presets, how long a comparison takes
drive/     starts targets (architectures, containers, the baseline) and puts load on them:
           session runs rounds of trials, in a new random order each round
measure/   samples per cell, resource usage from /proc, system calls and memory
judge/     rules and verdicts, intervals, ranking, rank changes, differences between two results
report/    the HTML page and the tables in the terminal
bench/     `make bench`: ours beside the real peers, every architecture beside the baseline
result     the result file, described in SCHEMA.md; reading: from JSON to dataclasses
outcome    makes a result with its manifest from a session's measurements
"""
