"""Load generators: locust users and shapes, the open-loop driver, the C floor; measuring aids."""
