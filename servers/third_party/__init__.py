"""Third-party servers, adapted to start and stop like ours."""
