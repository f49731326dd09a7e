"""Spans for OpenTelemetry, made of the access logs of gateway and worker.

A program of its own instead of a thread in each process: encoding and sending a span costs more
than serving the request it tells of, and would be paid by the event loop of the one and the
children of the other. A line of log costs them little, and the file is a queue that outlives a
collector which is away. The price is that spans come a second or two late.
"""
