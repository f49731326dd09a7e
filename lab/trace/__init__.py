"""`lab trace`: what one request does in every part of the chain, on one clock, as one ladder.

agents/      what watches: a packet capture, strace, a client; programs of their own
subject      what is watched: the chain that runs, one started for this, or a URL
run          one run of the client with the agents around it
segments, calls   what the agents saw, read
merge        both on one clock: connections, bytes, messages, states, phases
terminal, page, perfetto, pcapng   ways to look at it
"""
