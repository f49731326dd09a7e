"""Ordinary life as trials: the real gateway and worker among slow peers, full disks and crashes.

`make trials` runs them all (`python -m lab.trials`). Each trial starts programs of its own, loads
them with real clients, does its damage, and compares ordinary requests with their quiet time in the
same run. What has to hold is counted: failed requests, processes that ended, orphans, sockets.
"""
