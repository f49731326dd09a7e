"""What all architectures share: session, connection, timers, stopping, Spec, registry."""
