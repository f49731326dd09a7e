"""What others import: protocols, addresses and listeners, HTML pages, spans."""
