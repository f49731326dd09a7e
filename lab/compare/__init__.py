"""`lab compare`, `lab diff`: architectures side by side, under rules that hold for all of them.

commands   what the user types
settings   what is compared: routes, presets, how long a comparison takes
drive/     starts targets (architectures, containers, the null server) and puts load on them:
           session runs rounds of trials, in an order drawn anew for each round
measure/   samples per cell, resource usage from /proc, system calls and memory
judge/     rules and verdicts, intervals, ranking, rank changes, differences between two results
report/    the HTML page and the tables in the terminal
bench/     `make bench`: ours beside the real peers, every architecture beside the floor
result     the result file, described in SCHEMA.md; reading turns JSON into dataclasses
outcome    turns what a session measured into a result with its manifest
"""
