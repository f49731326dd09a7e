<?php
/* The head of a request: request line, field lines, and what follows from them (RFC 9112).
 *
 * Strict: errors that the RFC lets a server repair throw Refused with the matching status, because
 * two servers that repair them differently allow request smuggling. refuse_early() checks an
 * incomplete head, so that a client that speaks another protocol (TLS, HTTP/0.9, garbage) gets an
 * answer at once and not after a timeout. The rules are those of chainlab/wire/http1/request.py and
 * fields.py, which have a test case for each.
 */

declare(strict_types=1);

const REQUEST_LINE_LIMIT = 8192;         // bytes
const HEADER_BLOCK_LIMIT = 32768;
const FIELD_LIMIT = 100;                 // field lines

const TOKEN = '[!#$%&\'*+\-.^_`|~0-9A-Za-z]++';
const REQUEST_LINE = '/\A(' . TOKEN . ') ([\x21-\x7e]++) HTTP\/([0-9])\.([0-9])\r\n/';
const FIELD_LINE = '/\G(' . TOKEN . '):[ \t]*+([\t\x20-\x7e\x80-\xff]*+)\r\n/';
const HOST = '/\A(?:[A-Za-z0-9\-._~!$&\'()*+;=%]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?\z/';
const ABSOLUTE = '/\Ahttps?:\/\/([^\/?]*+)(\/[^?]*+)?(?:\?(.*+))?\z/i';
const STRAY = '/(?<!\r)\n|\r(?=[^\n])|\x00/'; // the LF after a final CR may still come
const STRAY_NAMES = ["\n" => 'a bare LF', "\r" => 'a bare CR', "\0" => 'a NUL'];
const TLS_HANDSHAKE = "\x16";
const HTTP2_PREFACE = "PRI * HTTP/2.0\r\n";

/** Return the request of a head (with its empty line); Refused if it is invalid. */
function parse_head(string $head, string $client): HttpRequest
{
    $lineEnd = strpos($head, "\r\n");
    if ($lineEnd > REQUEST_LINE_LIMIT) {
        throw line_too_long();
    }
    $block = substr($head, $lineEnd + 2, -2);
    if (strlen($block) > HEADER_BLOCK_LIMIT) {
        throw block_too_long();
    }
    [$method, $target, $minor] = parse_line($head, $lineEnd);
    $values = parse_fields($block);
    require_one_host($values['host'] ?? [], $minor);
    [$path, $query] = resolve($method, $target);
    if ($minor > 0 && strtolower($values['expect'][0] ?? '100-continue') !== '100-continue') {
        throw new Refused(417, 'an expectation other than 100-continue');
    }
    return new HttpRequest($method, rawurldecode($path), $query, $minor, $values, $client);
}

/** Refuse an incomplete head that is already invalid; `$seen` bytes were checked before. */
function refuse_early(string $begin, int $seen): void
{
    if ($begin[0] === TLS_HANDSHAKE) {
        throw bad_line($begin);
    }
    $lineEnd = strpos($begin, "\r\n");
    if ($lineEnd === false) {
        if (strlen($begin) > REQUEST_LINE_LIMIT + 1) { // may include its CR
            throw line_too_long();
        }
    } elseif (strlen($begin) - $lineEnd > HEADER_BLOCK_LIMIT + 6) {
        throw block_too_long();
    } elseif ($seen <= $lineEnd + 2) {
        parse_line($begin, $lineEnd);
    }
    require_no_stray($begin, max(0, $seen - 1), 'the request head');
}

/** Return [method, target, minor version] of the request line that a head begins with. */
function parse_line(string $head, int $lineEnd): array
{
    if (!preg_match(REQUEST_LINE, $head, $line)) {
        throw bad_line(substr($head, 0, $lineEnd));
    }
    [$all, $method, $target, $major, $minor] = $line;
    if ($all === HTTP2_PREFACE) {
        throw new Refused(505, 'an HTTP/2 preface on an HTTP/1.1 port');
    }
    if ($major !== '1') {
        throw new Refused(505, 'a version other than HTTP/1.0 and HTTP/1.1');
    }
    return [$method, $target, $minor === '0' ? 0 : 1];
}

function require_no_stray(string $bytes, int $from, string $where): void
{
    if (preg_match(STRAY, $bytes, $stray, 0, $from)) {
        throw new Refused(400, STRAY_NAMES[$stray[0]] . " in $where");
    }
}

function line_too_long(): Refused
{
    return new Refused(414, 'a request line longer than ' . REQUEST_LINE_LIMIT . ' bytes');
}

function block_too_long(): Refused
{
    return new Refused(431, 'a header block longer than ' . HEADER_BLOCK_LIMIT . ' bytes');
}

function bad_line(string $line): Refused
{
    if (str_starts_with($line, TLS_HANDSHAKE)) {
        return new Refused(400, 'a TLS handshake on a plain HTTP port');
    }
    if (preg_match('/\A' . TOKEN . ' [^ ]*\z/', $line)) {
        return new Refused(400, 'a request line without a version (HTTP/0.9)');
    }
    return new Refused(400, 'a malformed request line');
}

/** Return the field lines of a block as lower-case name => values, in order. */
function parse_fields(string $block): array
{
    $count = substr_count($block, "\n");
    if ($count > FIELD_LIMIT) {
        throw new Refused(431, 'more than ' . FIELD_LIMIT . ' header fields');
    }
    // Each match is one valid line with exactly one LF; \G prevents skipping any.
    if (preg_match_all(FIELD_LINE, $block, $lines) !== $count) {
        throw new Refused(400, what_is_wrong($block));
    }
    $values = [];
    foreach ($lines[1] as $i => $name) {
        $values[strtolower($name)][] = rtrim($lines[2][$i], " \t");
    }
    return $values;
}

/** Return a description of the first error in a block of field lines. */
function what_is_wrong(string $block): string
{
    require_no_stray($block, 0, 'the header block');
    foreach (explode("\r\n", $block) as $line) {
        if (!preg_match(FIELD_LINE, "$line\r\n")) {
            break;
        }
    }
    return match (true) {
        (bool) preg_match('/\A[ \t]/', $line) => 'a folded header line',
        !str_contains($line, ':') => 'a header line without a colon',
        (bool) preg_match('/\A[^:]*[ \t]:/', $line) => 'a space between header name and colon',
        (bool) preg_match('/\A' . TOKEN . ':/', $line) => 'a control character in the value of a header',
        default => 'a header name that is not a token',
    };
}

/** HTTP/1.1 requires exactly one Host, HTTP/1.0 at most one (RFC 9112 section 3.2). */
function require_one_host(array $hosts, int $minor): void
{
    if (count($hosts) > 1) {
        throw new Refused(400, 'more than one Host');
    }
    if ($hosts) {
        require_host($hosts[0]);
    } elseif ($minor > 0) {
        throw new Refused(400, 'no Host');
    }
}

function require_host(string $host): void
{
    if (!preg_match(HOST, $host, $match) || (int) ($match[1] ?? 0) > 65535) {
        throw new Refused(400, 'an invalid Host');
    }
}

/** Return [path, query] of a target in any of its forms (RFC 9112 section 3.2). */
function resolve(string $method, string $target): array
{
    if ($method === 'CONNECT') {
        throw new Refused(501, 'CONNECT: this server makes no tunnels');
    }
    if (str_contains($target, '#')) {
        throw new Refused(400, 'a fragment in the request target');
    }
    if ($target[0] === '/') {
        return explode('?', $target, 2) + [1 => ''];
    }
    if ($target === '*' && $method === 'OPTIONS') {
        return ['*', ''];
    }
    if (!preg_match(ABSOLUTE, $target, $match, PREG_UNMATCHED_AS_NULL)) {
        throw new Refused(400, 'a malformed request target');
    }
    [, $host, $path, $query] = $match;
    require_host($host);
    return [$path ?? ($method === 'OPTIONS' && $query === null ? '*' : '/'), $query ?? ''];
}
