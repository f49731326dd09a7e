-- Prints wrk's result as one line of JSON; times are in µs. wrk calls done() at its end, also after
-- SIGINT.

done = function(summary, latency, requests)
  local e = summary.errors
  io.stderr:write(string.format(
    '{"requests": %d, "duration": %d, "connect": %d, "read": %d, "write": %d, "status": %d,' ..
    ' "timeout": %d, "p50": %d, "p90": %d, "p99": %d, "p999": %d, "max": %d}\n',
    summary.requests, summary.duration, e.connect, e.read, e.write, e.status, e.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99),
    latency:percentile(99.9), latency.max))
end
