"""`lab tour`: what the reader of the notes sets out to build, stage by stage, in the terminal.

stage      what a stage, a step and a question are
stages     all of them, in order; s1_s2_server … s9_s11: their texts and measurements
sandbox    what a stage starts, and stops at its end
clients    bytes to and from a server, by hand
runner     the walk: tell, ask, measure, say whether it was foreseen
command    the command line

A step tells what to look at, asks one question about what is going to happen, makes it happen and
measures it. The measurement is the answer; no answer is written down anywhere.
"""
