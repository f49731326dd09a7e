"""What several test folders share: real processes, a FastCGI client over real sockets."""
