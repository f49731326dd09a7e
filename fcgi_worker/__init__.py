"""A prefork FastCGI worker manager for any WSGI application (php-fpm's place in the chain).

A master binds the listener, forks the children and replaces those that die. Each child runs one
request at a time, so an application needs no locks and a crash costs one request. Unlike in
php-fpm and flup, an idle kept connection occupies no child: see `fcgi_worker.idle_connections`.
"""
