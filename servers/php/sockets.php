<?php
/* Sockets as PHP streams: accept, receive, send, graceful close.
 *
 * Streams are designed for files; a server must handle these differences:
 *  - select cannot watch descriptors of 1024 and above (FD_SETSIZE), and a stream hides its number;
 *  - fread() returns "" both without data and at the end, and feof() blocks to find out which;
 *  - fwrite() returns 0 if the socket is full, and false, with a notice, if the peer is gone.
 */

declare(strict_types=1);

const LINGER_SECONDS = 1.0;              // for the client to close after we did
const REST_SECONDS = 0.1;                // without accepting, when no descriptor is left
const BATCH = 64;                        // connections accepted before others get a turn

/** Accepts connections, at most `$limit` at a time; further ones wait in the backlog. `$converse` is
 * called for each, with its socket, its client, and a callback for its end. */
final class Acceptor
{
    private int $open = 0;

    public function __construct(
        private readonly mixed $listener,
        private readonly int $limit,
        private readonly Loop $loop,
        private readonly Closure $converse,
    ) {
    }

    public function listen(): void
    {
        $this->loop->await(new Readable($this->listener, INF, idle: true), $this->onReadable(...));
    }

    private function onReadable(bool $ready): void
    {
        if (!$ready) {                   // the server stops
            fclose($this->listener);
        } elseif (!$this->accept()) {
            $this->loop->await(new Pause($this->listener, now() + REST_SECONDS), $this->listen(...));
        } elseif ($this->open < $this->limit) {
            $this->listen();
        }
    }

    /** Accept waiting connections. False: no descriptor is left; do not watch the listener, which
     * would stay ready and spin the loop. */
    private function accept(): bool
    {
        for ($tries = 0; $tries < BATCH && $this->open < $this->limit; $tries++) {
            $socket = @stream_socket_accept($this->listener, 0, $peer);
            if ($socket === false) {
                break;
            }
            $this->admit($socket, client_of($peer));
        }
        if ($tries === 0) {              // it was ready, so a client does wait
            error_log('cannot accept for a moment: ' . error_get_last()['message']);
        }
        return $tries > 0;
    }

    private function admit(mixed $socket, string $client): void
    {
        stream_set_blocking($socket, false);
        stream_set_read_buffer($socket, 0);
        if (is_watchable($socket)) {
            $this->open++;
            ($this->converse)($socket, $client, $this->onClose(...));
        } else {
            turn_away($socket);
        }
    }

    private function onClose(): void
    {
        $wasFull = $this->open === $this->limit;
        $this->open--;
        if ($wasFull) {
            $this->listen();
        }
    }
}

/** Whether select can watch the socket; tries it, because PHP hides descriptor numbers. */
function is_watchable(mixed $socket): bool
{
    error_clear_last();
    $sockets = [$socket];
    $none = null;
    @stream_select($sockets, $none, $none, 0);
    return !str_contains(error_get_last()['message'] ?? '', 'FD_SETSIZE');
}

function turn_away(mixed $socket): void
{
    error_log('a connection was refused: select cannot watch descriptors of 1024 and above');
    @fwrite($socket, refuse(new Refused(503, 'too many descriptors: try again later'))->current());
    @fread($socket, PIECE);              // unread bytes would turn the close into a reset
    fclose($socket);
}

/** The IP address of "127.0.0.1:4711" or "[::1]:4711"; a unix socket's peer has none. */
function client_of(?string $peer): string
{
    return preg_match('/\A\[?([0-9A-Fa-f.:]+)\]?:[0-9]+\z/', $peer ?? '', $match) ? $match[1] : 'unix:';
}

/** Return the received bytes, "" if there are none; null if the client has closed or is gone. */
function receive(mixed $socket): ?string
{
    $bytes = @fread($socket, PIECE);
    if ($bytes !== '' && $bytes !== false) {
        return $bytes;
    }
    return stream_get_meta_data($socket)['eof'] ? null : '';
}

/** Send what the kernel accepts and return the rest; null if the client is gone. */
function transmit(mixed $socket, string $bytes): ?string
{
    $sent = @fwrite($socket, $bytes);
    return $sent === false ? null : substr($bytes, $sent);
}

/** Shut down sending; the client reads the rest and closes, and only then do we (RFC 9112 section
 * 9.6). Closing at once would cause a reset, which destroys what the client has not read yet. */
function shut(mixed $socket): void
{
    @stream_socket_shutdown($socket, STREAM_SHUT_WR);
}
