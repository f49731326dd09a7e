"""The front of the chain (nginx's place): an epoll reverse proxy for FastCGI and HTTP/1.1."""
