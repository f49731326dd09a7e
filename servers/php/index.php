<?php
/* The application behind php-fpm: FastCGI's variables in, PHP's own output functions out.
 *
 * php-fpm starts this script anew for each request: compiled once (opcache), but every variable
 * built again and thrown away. So there is nothing to leak from one request into the next and
 * nothing to keep either: that is PHP's I/O model, a process for each request that runs, and a
 * wait is usleep.
 *
 * The path is taken from REQUEST_URI, because PATH_INFO is rewritten by cgi.fix_pathinfo. What PHP
 * would add of its own (a charset, a buffer, a time limit) is off in servers/php/php_fpm.py:
 * settings made here would be made again for each request.
 */

declare(strict_types=1);

require __DIR__ . '/app.php';

/** The request as php-fpm has put it into $_SERVER. */
final class FpmRequest extends Request
{
    public function __construct()
    {
        $path = rawurldecode(explode('?', $_SERVER['REQUEST_URI'], 2)[0]);
        parent::__construct($_SERVER['REQUEST_METHOD'], $path, $_SERVER['QUERY_STRING'] ?? '');
    }

    public function field(string $name): ?string
    {
        $key = strtoupper(strtr($name, '-', '_'));
        return $_SERVER[$name === 'content-type' ? $key : 'HTTP_' . $key] ?? null;
    }

    public function fields(): array
    {
        $fields = [];
        foreach ($_SERVER as $key => $value) {
            if ($key === 'CONTENT_TYPE' || $key === 'CONTENT_LENGTH') {
                if ($value === '') {
                    continue;            // CGI's way to say that there is none
                }
            } elseif (!str_starts_with($key, 'HTTP_') || $key === 'HTTP_PROXY'
                || $key === 'HTTP_CONTENT_TYPE' || $key === 'HTTP_CONTENT_LENGTH') {
                continue;
            } else {
                $key = substr($key, 5);
            }
            $fields[strtolower(strtr($key, '_', '-'))] = $value;
        }
        return $fields;
    }

    /** Beyond a MiB it waits in a file. */
    public function content(): mixed
    {
        $length = (int) ($_SERVER['CONTENT_LENGTH'] ?? 0);
        if ($length > body_limit()) {
            throw too_large();
        }
        $spool = fopen('php://temp/maxmemory:' . MIB, 'w+b');
        if (stream_copy_to_stream(fopen('php://input', 'rb'), $spool) < $length) {
            throw new Refused(400, "the content ended early: send all $length bytes of it");
        }
        rewind($spool);
        return $spool;
    }

    public function version(): string
    {
        return $_SERVER['SERVER_PROTOCOL'] ?? 'HTTP/1.0';
    }

    public function client(): string
    {
        return $_SERVER['REMOTE_ADDR'] ?? '';
    }

    public function architecture(): string
    {
        return ($_SERVER['CHAINLAB_ARCHITECTURE'] ?? '') ?: (getenv('CHAINLAB_ARCHITECTURE') ?: 'php-fpm');
    }

    /** A script forgets everything, so php-fpm's own scoreboard is asked. */
    public function served(): int
    {
        $status = function_exists('fpm_get_status') ? fpm_get_status() : false;
        foreach ($status['procs'] ?? [] as $process) {
            if ($process['pid'] === getmypid()) {
                return $process['requests'];
            }
        }
        return 1;
    }
}

function spend(Wait $wait): void
{
    if ($wait->seconds > 0) {
        usleep((int) ceil($wait->seconds * 1e6));
    }
}

function send_head(Response $response): void
{
    http_response_code($response->status);
    foreach ($response->headers as $name => $value) {
        header($name . ': ' . $value);
    }
    if (!isset($response->headers['Content-Type'])) {
        header_remove('Content-Type');
        ini_set('default_mimetype', ''); // or PHP puts one in
    }
}

function send(Response $response): void
{
    send_head($response);
    if ($_SERVER['REQUEST_METHOD'] === 'HEAD') {
        return;
    }
    if (is_string($response->body)) {
        echo $response->body;
    } else {
        foreach ($response->body as $step) {
            if ($step instanceof Wait) {
                flush();                 // what came before it leaves now, as a record of its own
                spend($step);
            } else {
                echo $step;
            }
        }
    }
    if ($response->status === 413) {
        flush();                         // PHP reads on what content there is: answer before that
    }
}

try {
    $answer = respond(new FpmRequest());
    if ($answer instanceof Generator) {
        foreach ($answer as $wait) {
            spend($wait);
        }
        $answer = $answer->getReturn();
    }
    send($answer);
} catch (Throwable $failure) {
    $response = failed($failure);
    if (!headers_sent()) {
        header_remove();
        send($response);
    }
}
