<?php
/* Sockets as PHP's streams: accepting, bytes in, bytes out, the last goodbye.
 *
 * Streams are made for reading files in comfort, and a server has to know where that shows:
 *  - select cannot watch a descriptor from 1024 on (FD_SETSIZE), and no stream tells its number;
 *  - fread() gives "" both when nothing is there and at the end, and feof(), asked which, waits;
 *  - fwrite() gives 0 when the kernel takes nothing and false, with a notice, when the peer is gone.
 */

declare(strict_types=1);

const LINGER_SECONDS = 1.0;              // for the client to close after we did
const REST_SECONDS = 0.1;                // without accepting, when no descriptor is left
const BATCH = 64;                        // connections accepted before the others have their turn

/** Takes connections from a listener, at most so many at one time; the others wait in the backlog.
 * `$converse` is called with each: a socket, its client, and what is to be called at its close. */
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

    /** Accept what waits. False: no descriptor is left, and a listener that is still watched would
     * be ready again and again. */
    private function accept(): bool
    {
        for ($tries = 0; $tries < BATCH && $this->open < $this->limit; $tries++) {
            $socket = @stream_socket_accept($this->listener, 0, $peer);
            if ($socket === false) {
                break;
            }
            $this->admit($socket, client_of($peer));
        }
        if ($tries === 0) {              // it was ready, so somebody does wait
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

/** Whether select can watch the socket: PHP tells no descriptor's number, so select is asked. */
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
    error_log('a connection was turned away: select watches no descriptor from 1024 on');
    @fwrite($socket, refuse(new Refused(503, 'too many descriptors: try again later'))->current());
    @fread($socket, PIECE);              // what is unread would turn the close into a reset
    fclose($socket);
}

/** The IP address of "127.0.0.1:4711" or "[::1]:4711"; a unix socket's peer has none. */
function client_of(?string $peer): string
{
    return preg_match('/\A\[?([0-9A-Fa-f.:]+)\]?:[0-9]+\z/', $peer ?? '', $match) ? $match[1] : 'unix:';
}

/** Return what has come, "" when nothing has; null when the client has closed or is gone. */
function receive(mixed $socket): ?string
{
    $bytes = @fread($socket, PIECE);
    if ($bytes !== '' && $bytes !== false) {
        return $bytes;
    }
    return stream_get_meta_data($socket)['eof'] ? null : '';
}

/** Send what the kernel takes and return the rest; null when the client is gone. */
function transmit(mixed $socket, string $bytes): ?string
{
    $sent = @fwrite($socket, $bytes);
    return $sent === false ? null : substr($bytes, $sent);
}

/** Say that we have sent all: the client takes it, closes, and only then do we (RFC 9112
 * section 9.6); closing at once would reset away what it has not read yet. */
function shut(mixed $socket): void
{
    @stream_socket_shutdown($socket, STREAM_SHUT_WR);
}
