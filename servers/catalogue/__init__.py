"""The Specs of all architectures, a module for each family: data, no server is imported."""
