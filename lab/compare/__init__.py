"""`lab compare`, `lab diff`: architectures beside each other, under rules that hold for all.

    commands       what the user types
    settings       what is compared: routes, presets, how long it takes
    contestants    architectures and the null server, started and described
    containers     the same in containers, for --docker
    instances      contestants as they run: started, warmed, lent for a turn
    footprint      what a part has used and holds, and when it has taken its clients, from /proc
    turn           load on one instance, and what it cost each part
    deep           system calls by name, memory of idle connections
    session        the rounds: interleaved, in an order drawn anew
    ledger         what they have given so far; the rates that follow from the peaks
    outcome        what a session has taken, as a result with its manifest
    show           places and verdicts in the terminal
    show_load      there, too: latency against load

What needs no lab (rules, intervals, standings, the file) is in judge.
"""
