"""`lab tour`: the stages of the notes, S1 to S11, as an interactive tour in the terminal.

stage      Stage, Step and the kinds of question
stages     all stages in order; their texts and measurements are in s1_s2_server … s9_s11
sandbox    starts servers for a stage, and stops them at its end
clients    raw clients of these servers
runner     runs the steps: explain, ask, measure, compare
command    the command line

Each step explains a situation, asks for a prediction, makes the situation happen and measures the
result. The measurement is the answer: no answers are stored.
"""
