"""The notes as experiments: each claim about how Linux behaves is a run with a verdict.

frame             Experiment, Finding, Limits: what an experiment is and may use
catalogue         which module tests which claim, in the order of the notes
child             one experiment in this process, within limits; `python -m experiments ID --json -`
running           the same in a child process, watched from outside
outcome           the result of one run
record            the results of several; show prints them, book makes an HTML page of them
drawing           line and bar charts; symbols: strips, matrices, fitted lines; timeline; ladder
proc              the state, CPU time and context switches of a process, from /proc
timing            the cost of a call, medians, slopes
models            the five I/O models
reading           one timed read in each model; uring: a minimal io_uring
echo              blocking and multiplexing servers that count their system calls and CPU time
libc              select, poll and epoll through ctypes; pollers: what one call of each costs
sockets           real connections, thousands of idle ones, and waiting until data has arrived
tcp_states        the TCP states of both ends
connection_lives  whole lives of connections, paused in each state
lab_process       lab commands as subprocesses; one_request: what lab trace saw of one request

k1_… to k6_…   kernel, processes, descriptors
m0_… to m6_…   the five I/O models
e1_… to e14_…  select, poll, epoll
s3_…, s4_…     packets, and the life of a TCP connection

An experiment has three functions: `measure` returns numbers, `judge` computes verdicts from them,
`figures` draws them. `judge` and `figures` are pure. The thresholds of `judge` are named constants
with a reason beside them; none was fitted to a run.
"""
