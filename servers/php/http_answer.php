<?php
/* An answer as a generator of steps, waits or bytes to send; returns whether to keep the connection.
 *
 * The server takes one step at a time and does it in its own way, so only one piece of an answer is
 * in memory, and a slow client slows down the production of its answer. The bytes of a step are sent
 * in one write, the head with the first piece.
 */

declare(strict_types=1);

const REASONS = [
    200 => 'OK', 206 => 'Partial Content', 304 => 'Not Modified', 400 => 'Bad Request',
    404 => 'Not Found', 405 => 'Method Not Allowed', 408 => 'Request Timeout',
    413 => 'Content Too Large', 414 => 'URI Too Long', 416 => 'Range Not Satisfiable',
    417 => 'Expectation Failed', 431 => 'Request Header Fields Too Large',
    500 => 'Internal Server Error', 501 => 'Not Implemented', 503 => 'Service Unavailable',
    505 => 'HTTP Version Not Supported',
];

/** Yield the steps that answer a request: Waits, or bytes to send. Returns whether to keep the
 * connection. */
function answer(HttpRequest $request, Stop $stop): Generator
{
    $response = respond($request);
    if ($response instanceof Generator) {
        $response = yield from $response;
    }
    $bare = $request->method === 'HEAD' || $response->status === 304;
    $framed = $bare || isset($response->headers['Content-Length']);
    $chunked = !$framed && $request->minor > 0;
    $kept = ($framed || $chunked) && !$stop->asked && $request->isPersistent();
    $out = encode_head($response, $request->minor, $kept, $chunked);
    if ($bare) {
        yield $out;
    } elseif (is_string($response->body)) {
        yield $out . $response->body;
    } else {
        $kept = (yield from stream_body($out, $response->body, $chunked)) && $kept;
    }
    return $kept;
}

/** Yield the head with the first piece, then the other pieces. Returns whether it was complete. */
function stream_body(string $out, Generator $body, bool $chunked): Generator
{
    try {
        foreach ($body as $step) {
            if (!$step instanceof Wait) {
                yield $out . ($chunked ? sprintf("%x\r\n%s\r\n", strlen($step), $step) : $step);
                $out = '';
                continue;
            }
            if ($out !== '') {
                yield $out;
                $out = '';
            }
            yield $step;
        }
    } catch (Throwable $failure) {
        failed($failure);                // truncate the answer
        return false;
    }
    $out .= $chunked ? "0\r\n\r\n" : '';
    if ($out !== '') {
        yield $out;
    }
    return true;
}

/** The answer to an invalid request; closes the connection, since its framing is lost. */
function refuse(Refused $refusal): Generator
{
    $response = text($refusal->status, $refusal->getMessage());
    yield encode_head($response, 1, false, false) . $response->body;
    return false;
}

/** Tell a client that waits for 100 (Continue) to send its content (RFC 9110 section 15.2.1). */
function invite(): Generator
{
    yield "HTTP/1.1 100 Continue\r\n\r\n";
    return true;
}

function encode_head(Response $response, int $minor, bool $kept, bool $chunked): string
{
    $head = "HTTP/1.1 $response->status " . REASONS[$response->status] . "\r\n" . date_line();
    foreach ($response->headers as $name => $value) {
        $head .= "$name: $value\r\n";
    }
    if ($chunked) {
        $head .= "Transfer-Encoding: chunked\r\n";
    }
    if (!$kept) {
        $head .= "Connection: close\r\n";
    } elseif ($minor === 0) {
        $head .= "Connection: keep-alive\r\n";
    }
    return $head . "\r\n";
}

/** The Date field, made once per second (RFC 9110 section 6.6.1). */
function date_line(): string
{
    static $second = 0;
    static $line = '';
    if ($second !== time()) {
        $second = time();
        $line = 'Date: ' . gmdate('D, d M Y H:i:s', $second) . " GMT\r\n";
    }
    return $line;
}
