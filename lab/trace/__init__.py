"""`lab trace`: one request in every part of the chain, on one clock, drawn as a ladder.

agents/      the observers, each a program of its own: packet capture, strace, client
subject      what is traced: the running chain, a chain started for the trace, or a URL
run          one run of the client, with the agents attached
take         the two runs of a trace: capture only, then with strace
segments, strace_lines, syscalls   parse the agents' output
merge        packets and calls on one clock: connections, bytes, messages, states, phases
terminal, page, perfetto, pcapng, as_json   output formats
"""
