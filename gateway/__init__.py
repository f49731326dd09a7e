"""nginx's place in the chain: an epoll reverse proxy for FastCGI and HTTP/1.1 upstreams."""
