<?php
/* The application in PHP: the same routes, byte for byte, as servers/app/CONTRACT.md states them.
 *
 * php-fpm starts this script anew for each request: compiled once (opcache), but every variable
 * built again and thrown away. So there is nothing to leak from one request into the next and
 * nothing to keep either: that is PHP's I/O model, a process for each request that runs, and a
 * wait is usleep.
 *
 * The path is taken from REQUEST_URI, because PATH_INFO is rewritten by cgi.fix_pathinfo.
 */

declare(strict_types=1);

ini_set('default_charset', '');          // or PHP adds a charset to text/*
ini_set('zlib.output_compression', '0');
ini_set('display_errors', '0');          // failures go to the log only
ini_set('max_execution_time', '0');
header_remove('X-Powered-By');
while (ob_get_level() > 0) {
    ob_end_clean();                      // output_buffering would gather what /stream sends
}

const PIECE = 65536;
const MIB = 1 << 20;
const TYPES = [
    'css' => 'text/css',
    'html' => 'text/html',
    'js' => 'text/javascript',
    'json' => 'application/json',
    'png' => 'image/png',
    'svg' => 'image/svg+xml',
    'txt' => 'text/plain',
];
const REASONS = [
    200 => 'OK', 206 => 'Partial Content', 304 => 'Not Modified', 400 => 'Bad Request',
    404 => 'Not Found', 405 => 'Method Not Allowed', 413 => 'Content Too Large',
    416 => 'Range Not Satisfiable', 500 => 'Internal Server Error',
];
const MONTHS = [
    'Jan' => 1, 'Feb' => 2, 'Mar' => 3, 'Apr' => 4, 'May' => 5, 'Jun' => 6,
    'Jul' => 7, 'Aug' => 8, 'Sep' => 9, 'Oct' => 10, 'Nov' => 11, 'Dec' => 12,
];

/** The request cannot be served; the message says why and what would help. */
final class Refused extends Exception
{
    public function __construct(public readonly int $status, string $line)
    {
        parent::__construct($line);
    }
}

// Answering

function wants_body(): bool
{
    return $_SERVER['REQUEST_METHOD'] !== 'HEAD';
}

/** Begin an answer; null: a length that is not known beforehand. */
function send_head(int $status, array $headers, ?int $length): void
{
    header('HTTP/1.1 ' . $status . ' ' . REASONS[$status]);
    foreach ($headers as $name => $value) {
        header($name . ': ' . $value);
    }
    if (!isset($headers['Content-Type'])) {
        header_remove('Content-Type');
        ini_set('default_mimetype', ''); // or PHP puts one in
    }
    if ($length !== null) {
        header('Content-Length: ' . $length);
    }
}

function send(int $status, string $type, string $body, array $headers = []): void
{
    send_head($status, ['Content-Type' => $type] + $headers, strlen($body));
    if (wants_body()) {
        echo $body;
    }
}

function send_line(int $status, string $line, array $headers = []): void
{
    send($status, 'text/plain', $line . "\n", $headers);
}

function send_json(array $value): void
{
    send(200, 'application/json', json_encode($value, JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR));
}

// Parameters

function whole_number(string $name, int $least, int $most): int
{
    $remedy = "give a whole number from $least to $most";
    $values = [];
    foreach (explode('&', $_SERVER['QUERY_STRING'] ?? '') as $field) {
        $parts = explode('=', $field, 2);
        if (urldecode($parts[0]) === $name) {
            $values[] = urldecode($parts[1] ?? '');
        }
    }
    if (!$values) {
        throw new Refused(400, "$name is missing: $remedy");
    }
    if (count($values) > 1) {
        throw new Refused(400, "$name is given more than once: $remedy, once");
    }
    if (!ctype_digit($values[0])) {
        throw new Refused(400, "$name is not a number: $remedy");
    }
    $digits = ltrim($values[0], '0');
    $number = (int) $digits;
    if (strlen($digits) > 9 || $number < $least || $number > $most) {
        throw new Refused(400, "$name is out of range: $remedy");
    }
    return $number;
}

// Handlers

function hello(): void
{
    send_line(200, 'Hello, world!');
}

function greet_json(): void
{
    send_json(['message' => 'Hello, world!']);
}

function wait(): void
{
    $milliseconds = whole_number('ms', 0, 60000);
    usleep($milliseconds * 1000);
    send_line(200, "waited $milliseconds ms");
}

function burn_cpu(): void
{
    $rounds = whole_number('n', 1, 1000000);
    $digest = '';
    for ($round = 0; $round < $rounds; $round++) {
        $digest = hash('sha256', $digest, true);
    }
    send_line(200, bin2hex($digest));
}

function send_bytes(): void
{
    $count = whole_number('n', 0, 64 * MIB);
    send_head(200, ['Content-Type' => 'application/octet-stream'], $count);
    if (!wants_body()) {
        return;
    }
    $pattern = str_repeat(implode('', array_map('chr', range(0, 255))), PIECE >> 8);
    for ($left = $count; $left >= PIECE; $left -= PIECE) {
        echo $pattern;
    }
    echo substr($pattern, 0, $left);
}

function echo_content(): void
{
    $limit = (int) (getenv('CHAINLAB_BODY_LIMIT') ?: 64 * MIB);
    $length = (int) ($_SERVER['CONTENT_LENGTH'] ?? 0);
    if ($length > $limit) {
        throw new Refused(413, "the content is too large: send at most $limit bytes");
    }
    // All of it first, lest both sides only write; beyond a MiB it waits in a file.
    $spool = fopen('php://temp/maxmemory:' . MIB, 'w+b');
    $received = stream_copy_to_stream(fopen('php://input', 'rb'), $spool);
    if ($received < $length) {
        throw new Refused(400, "the content ended early: send all $length bytes of it");
    }
    $type = ($_SERVER['CONTENT_TYPE'] ?? '') ?: 'application/octet-stream';
    send_head(200, ['Content-Type' => $type], $received);
    rewind($spool);
    fpassthru($spool);
}

function stream_lines(): void
{
    $count = whole_number('n', 0, 100000);
    $milliseconds = whole_number('ms', 0, 60000);
    send_head(200, ['Content-Type' => 'text/plain', 'X-Accel-Buffering' => 'no'], null);
    if (!wants_body()) {
        return;
    }
    for ($number = 1; $number <= $count; $number++) {
        if ($number > 1 && $milliseconds > 0) {
            usleep($milliseconds * 1000);
        }
        echo "line $number\n";
        flush();                         // a record of its own, now
    }
}

function whoami(): void
{
    $headers = [];
    foreach ($_SERVER as $key => $value) {
        if ($key === 'CONTENT_TYPE' || $key === 'CONTENT_LENGTH') {
            if ($value === '') {
                continue;                // CGI's way to say that there is none
            }
        } elseif (!str_starts_with($key, 'HTTP_') || $key === 'HTTP_PROXY'
            || $key === 'HTTP_CONTENT_TYPE' || $key === 'HTTP_CONTENT_LENGTH') {
            continue;
        } else {
            $key = substr($key, 5);
        }
        $headers[strtolower(str_replace('_', '-', $key))] = iconv('ISO-8859-1', 'UTF-8', $value);
    }
    ksort($headers, SORT_STRING);
    send_json([
        'architecture' => ($_SERVER['CHAINLAB_ARCHITECTURE'] ?? '')
            ?: (getenv('CHAINLAB_ARCHITECTURE') ?: 'php-fpm'),
        'pid' => getmypid(),
        'thread' => getmypid(),          // one thread: its id is the process's
        'requests' => requests_served(),
        'http_version' => $_SERVER['SERVER_PROTOCOL'] ?? 'HTTP/1.0',
        'client' => $_SERVER['REMOTE_ADDR'] ?? '',
        'headers' => (object) $headers,
    ]);
}

/** A script forgets everything, so php-fpm's own scoreboard is asked. */
function requests_served(): int
{
    $status = function_exists('fpm_get_status') ? fpm_get_status() : false;
    foreach ($status['procs'] ?? [] as $process) {
        if ($process['pid'] === getmypid()) {
            return $process['requests'];
        }
    }
    return 1;
}

// GET /file/NAME

function serve_file(string $name): void
{
    $folder = getenv('CHAINLAB_PUBLIC') ?: dirname(__DIR__) . '/app/public';
    $path = "$folder/$name";
    $absent = 'no such file: /file/ has hello.txt, index.html, pattern.bin, pixel.svg';
    if ($name === '' || $name === '.' || $name === '..' || strpbrk($name, "/\0") !== false
        || is_link($path) || !is_file($path) || !($file = @fopen($path, 'rb'))) {
        throw new Refused(404, $absent);
    }
    $details = fstat($file);
    $size = $details['size'];
    $modified = $details['mtime'];
    $tag = sprintf('"%x-%x"', $modified, $size);
    $validators = [
        'Last-Modified' => gmdate('D, d M Y H:i:s', $modified) . ' GMT',
        'ETag' => $tag,
    ];
    if (is_fresh($tag, $modified)) {
        send_head(304, $validators, null);
        return;
    }
    $span = range_asked($tag, $modified, $size);
    if ($span !== null && $span[1] === 0) {
        $line = "the range begins beyond the file: it has $size bytes";
        send_line(416, $line, ['Content-Range' => "bytes */$size"]);
        return;
    }
    send_span($file, $name, $span, $size, $validators);
}

function send_span($file, string $name, ?array $span, int $size, array $validators): void
{
    [$begin, $length] = $span ?? [0, $size];
    $dot = strrpos($name, '.');
    $ending = strtolower($dot === false ? $name : substr($name, $dot + 1));
    $headers = ['Content-Type' => TYPES[$ending] ?? 'application/octet-stream'] + $validators;
    $headers['Accept-Ranges'] = 'bytes';
    if ($span !== null) {
        $headers['Content-Range'] = sprintf('bytes %d-%d/%d', $begin, $begin + $length - 1, $size);
    }
    send_head($span === null ? 200 : 206, $headers, $length);
    if (!wants_body()) {
        return;
    }
    fseek($file, $begin);
    while ($length > 0 && ($piece = fread($file, min(PIECE, $length))) !== '') {
        echo $piece;
        $length -= strlen($piece);
    }
}

function is_fresh(string $tag, int $modified): bool
{
    $wanted = $_SERVER['HTTP_IF_NONE_MATCH'] ?? null;
    if ($wanted !== null) {
        preg_match_all('/(?:W\/)?("[^"]*")/', $wanted, $tags);
        return trim($wanted) === '*' || in_array($tag, $tags[1], true);
    }
    $moment = parse_date($_SERVER['HTTP_IF_MODIFIED_SINCE'] ?? '');
    return $moment !== null && $modified <= $moment;
}

/** Return [begin, length] of a single range, length 0 when there is nothing; null: all. */
function range_asked(string $tag, int $modified, int $size): ?array
{
    $asked = $_SERVER['HTTP_RANGE'] ?? null;
    if ($asked === null || $_SERVER['REQUEST_METHOD'] !== 'GET') {
        return null;
    }
    $condition = $_SERVER['HTTP_IF_RANGE'] ?? null;
    if ($condition !== null && $condition !== $tag && parse_date($condition) !== $modified) {
        return null;
    }
    if (!preg_match('/^bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*$/iD', $asked, $match)) {
        return null;
    }
    [, $first, $last] = $match;
    if ($first === '') {
        if ($last === '') {
            return null;
        }
        $length = min((int) $last, $size); // (int) stops at PHP_INT_MAX
        return [$size - $length, $length];
    }
    $begin = (int) $first;
    $end = $last === '' ? PHP_INT_MAX : (int) $last;
    if ($end < $begin) {
        return null;
    }
    return [$begin, max(0, min($end, $size - 1) - $begin + 1)];
}

/** Return the seconds since 1970 of an HTTP date (RFC 9110 section 5.6.7); null: no date. */
function parse_date(string $value): ?int
{
    $clock = '([0-9]{2}):([0-9]{2}):([0-9]{2})';
    if (preg_match("/^[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) $clock GMT\$/D", $value, $m)) {
        [, $day, $month, $year, $hour, $minute, $second] = $m;
    } elseif (preg_match("/^[A-Z][a-z]{5,8}, ([0-9]{2})-([A-Z][a-z]{2})-([0-9]{2}) $clock GMT\$/D", $value, $m)) {
        [, $day, $month, $year, $hour, $minute, $second] = $m;
        $year = ($year >= '70' ? '19' : '20') . $year;
    } elseif (preg_match("/^[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([ 0-9][0-9]) $clock ([0-9]{4})\$/D", $value, $m)) {
        [, $month, $day, $hour, $minute, $second, $year] = $m;
    } else {
        return null;
    }
    $number = MONTHS[$month] ?? 0;
    if ($hour > 23 || $minute > 59 || $second > 60 || $year < 1970
        || !checkdate($number, (int) trim($day), (int) $year)) {
        return null;
    }
    return gmmktime((int) $hour, (int) $minute, (int) $second, $number, (int) trim($day), (int) $year);
}

// The table

const ROUTES = [
    '/hello' => ['hello', 'GET, HEAD'],
    '/json' => ['greet_json', 'GET, HEAD'],
    '/wait' => ['wait', 'GET, HEAD'],
    '/cpu' => ['burn_cpu', 'GET, HEAD'],
    '/bytes' => ['send_bytes', 'GET, HEAD'],
    '/echo' => ['echo_content', 'POST'],
    '/stream' => ['stream_lines', 'GET, HEAD'],
    '/whoami' => ['whoami', 'GET, HEAD'],
];

function answer(): void
{
    $path = rawurldecode(explode('?', $_SERVER['REQUEST_URI'], 2)[0]);
    if (isset(ROUTES[$path])) {
        [$handler, $allow] = ROUTES[$path];
        $arguments = [];
    } elseif (str_starts_with($path, '/file/') && $path !== '/file/') {
        [$handler, $allow] = ['serve_file', 'GET, HEAD'];
        $arguments = [substr($path, 6)];
    } else {
        throw new Refused(404, 'no such path: the routes are in servers/app/CONTRACT.md');
    }
    if (!in_array($_SERVER['REQUEST_METHOD'], explode(', ', $allow), true)) {
        send_line(405, "this path takes $allow only", ['Allow' => $allow]);
        return;
    }
    $handler(...$arguments);
}

try {
    answer();
} catch (Refused $refusal) {
    send_line($refusal->status, $refusal->getMessage());
    flush();                             // PHP reads on what content there is: answer before that
} catch (Throwable $failure) {
    error_log('the application failed: ' . $failure);
    if (!headers_sent()) {
        header_remove();
        send_line(500, 'the application failed: its log says why');
    }
}
