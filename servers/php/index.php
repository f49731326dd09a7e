<?php
/* The application behind php-fpm: input from FastCGI's variables, output by PHP's own functions.
 *
 * php-fpm runs this script from the start for each request. It is compiled once (opcache), but all
 * variables are created and discarded per request, so nothing leaks from one request to the next,
 * and nothing can be kept. This is PHP's I/O model: one process per running request; it waits in
 * usleep.
 *
 * The path comes from REQUEST_URI, because cgi.fix_pathinfo rewrites PATH_INFO. servers/php/php_fpm.py
 * turns off what PHP would add (a charset, a buffer, a time limit): settings made here would be
 * repeated for each request.
 */

declare(strict_types=1);

require __DIR__ . '/app.php';

/** The request as php-fpm puts it into $_SERVER. */
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
                    continue;            // in CGI, "" means that there is none
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

    /** The content; beyond a MiB, PHP keeps it in a temporary file. */
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

    /** A script keeps no counter between requests, so this reads php-fpm's status. */
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
        ini_set('default_mimetype', ''); // else PHP adds one
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
                flush();                 // send the pieces before it now, in their own record
                spend($step);
            } else {
                echo $step;
            }
        }
    }
    if ($response->status === 413) {
        flush();                         // answer before PHP reads the remaining content
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
