"""The notes, executable: each claim about how Linux behaves is a run with a verdict.

frame      what an experiment is, its findings, what it may use
catalogue  which module shows which claim, in the order of the notes
child      one experiment in this process, within its bounds; `python -m experiments ID --json -`
running    the same in a process of its own, watched from outside; outcome: what comes of it
record     a run of several; show: in the terminal; book: as a page, with all their figures
drawing    figures: lines, bars; marks: strips, matrices, fitted lines; timeline; all have a table
proc       what /proc says of a process or thread
timing     the cost of a call, medians, slopes
models     the five I/O models; reading: one read in each, seen from three sides; uring: a ring
echo       servers that count their calls and CPU time, blocking and multiplexing
libc       select, poll and epoll by ctypes; pollers: what one call of each costs
sockets    real connections, idle ones by the thousand, and the certainty that data came
tcp_states the states of both ends; lives: whole lives of connections, held in each state
lab_process lab commands from outside; one_request: what lab trace saw of one
ladder     a figure of what two ends go through

k1_… to k6_…   kernel, processes, descriptors
m0_… to m6_…   the five I/O models
e1_… to e14_…  select, poll, epoll
s3_…, s4_…     packets, and the life of a TCP connection

An experiment measures, and returns numbers; judges the numbers, by thresholds that are named and
reasoned beside it, not taken from a run; and draws them. The last two are pure functions.
"""
