"""php-fpm's place in the chain: a prefork FastCGI worker manager for any WSGI application."""
