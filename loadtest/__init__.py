"""Load generators: locust users and shapes, the open-loop driver, the baseline; measuring aids."""
