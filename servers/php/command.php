<?php
/* The common start of select.php and coroutine.php: the inherited listener, and the loop on it.
 *
 *     php select.php --fd N --connections M
 *
 * serves at most M concurrent connections on descriptor N, which servers/php/command_line.py has
 * bound and made nonblocking. If N is a socket, php://fd/N is a socket stream, a duplicate
 * descriptor of the same listener. Exit code 2: the command line is wrong.
 */

declare(strict_types=1);

require __DIR__ . '/app.php';
require __DIR__ . '/http_request.php';
require __DIR__ . '/http_head.php';
require __DIR__ . '/http_body.php';
require __DIR__ . '/http_answer.php';
require __DIR__ . '/http_connection.php';
require __DIR__ . '/loop.php';
require __DIR__ . '/sockets.php';

/** Serve as the command line says, until a signal. `$converse` is called for each new connection,
 * with its socket, its client, the Loop, the Stop, and a callback for its end. */
function serve(Closure $converse): never
{
    ini_set('display_errors', '0');      // failures go to stderr only
    ini_set('log_errors', '1');
    ini_set('memory_limit', '-1');       // connections times a MiB is the limit
    [$listener, $connections] = read_options();
    $stop = new Stop();
    $loop = new Loop($stop);
    $begin = fn ($socket, $client, $onClose) => $converse($socket, $client, $loop, $stop, $onClose);
    (new Acceptor($listener, $connections, $loop, $begin))->listen();
    $loop->run();
    exit(0);
}

/** Return [listener, connections]. */
function read_options(): array
{
    ['fd' => $fd, 'connections' => $connections] =
        getopt('', ['fd:', 'connections:']) + ['fd' => '', 'connections' => ''];
    $listener = ctype_digit($fd) ? @fopen("php://fd/$fd", 'r+') : false;
    if (!$listener || (int) $connections < 1) {
        fwrite(STDERR, "usage: php SCRIPT --fd N --connections M: N is an open socket that listens\n");
        exit(2);
    }
    stream_context_set_option($listener, 'socket', 'tcp_nodelay', true); // of those it accepts
    return [$listener, (int) $connections];
}
