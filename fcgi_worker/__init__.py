"""php-fpm's place in the chain: a prefork FastCGI worker manager for any WSGI application.

A master binds the listener, forks the children and keeps their number; each child runs one
request at a time, so that an application needs no locks and a crash costs one request. What
sets it apart from php-fpm and flup is that a kept connection belongs to nobody while it is
idle: see `fcgi_worker.idle_connections`.
"""
