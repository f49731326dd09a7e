"""Load on the chain, driven by locust, and the measurements made of it."""
