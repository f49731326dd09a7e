"""Comparisons that refuse to lie: what needs no knowledge of the lab. See SCHEMA.md.

result      the file: everything that was measured, and what became of it
reading     a file's JSON into dataclasses, or what is wrong with it, by field
levels      how hard a cell is driven: closed loop, equal rates, shares of a peak
driver      one turn of load, by openloop or wrk
locust      the same by locust, whose users are in loadtest/turn_users.py
rules       each a function of rounds; the verdict
intervals   medians, and how far they can be trusted
summary     a cell from its rounds
standings   tie groups and crossings
diff        what changed between two results
budget      how long it takes
manifest    the machine
"""
