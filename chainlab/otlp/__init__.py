"""OpenTelemetry spans, built from the access logs of gateway and worker.

A separate program rather than a thread in each process: encoding and sending a span costs more than
serving the request, and the gateway's event loop and the worker's children would pay for it. A log
line costs them little, and the file is a queue that survives a collector outage. The price is that
spans arrive a second or two late.
"""
