"""The server architectures, all serving the one application of `servers.app`."""
