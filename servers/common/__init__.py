"""Shared by all architectures: session, connection, timers, stopping, Spec, registry."""
