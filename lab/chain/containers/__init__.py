"""The chain in containers: docker compose, the Docker SDK, and the containers' entry point."""
