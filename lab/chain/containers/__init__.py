"""The chain in containers: docker compose, the Docker SDK, and what runs inside."""
