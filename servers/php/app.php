<?php
/* The application in PHP: a table from path to handler, and the handlers; independent of any server.
 *
 *     $answer = respond($request);   a Response, or a generator that returns one and yields Waits;
 *                                    the server decides how to wait: usleep, a timer, a coroutine
 *                                    switch
 *
 * A response's body may also be a generator of pieces and waits. That is the whole interface, so
 * php-fpm, select.php and coroutine.php differ only in their I/O model, never in the work.
 * servers/app/CONTRACT.md specifies the answers byte for byte; servers/app/routes.py is the same in
 * Python.
 */

declare(strict_types=1);

const PIECE = 65536;                     // bytes per piece of a long body
const MIB = 1 << 20;

// The interface between the application and its server

/** What a handler can read of a request; each server implements it. */
abstract class Request
{
    public function __construct(
        public readonly string $method,
        public readonly string $path,    // percent-decoded
        public readonly string $query,   // the text after the question mark, as sent
    ) {
    }

    /** A field by its lower-case name, repeated ones joined by ", "; null: it was not sent. */
    abstract public function field(string $name): ?string;

    /** All fields that a CGI environment would have, by lower-case name. */
    abstract public function fields(): array;

    /** The content as a stream at its beginning; Refused if there is too much of it. */
    abstract public function content(): mixed;

    /** HTTP/1.0 or HTTP/1.1. */
    abstract public function version(): string;

    /** The peer's IP address; "unix:" for a unix socket. */
    abstract public function client(): string;

    /** The id of the server. */
    abstract public function architecture(): string;

    /** How many requests this process has served, this one included. */
    abstract public function served(): int;
}

/** Continue after so many seconds: the server decides how to wait and what to do meanwhile. */
final class Wait
{
    public function __construct(public readonly float $seconds)
    {
    }
}

/** An answer; the headers include Content-Length if the length is known in advance. */
final class Response
{
    public function __construct(
        public readonly int $status,
        public readonly array $headers,  // name => value
        public readonly string|Generator $body,
    ) {
    }
}

/** The request cannot be served; the message says why and what to do. */
final class Refused extends Exception
{
    public function __construct(public readonly int $status, string $line)
    {
        parent::__construct($line);
    }
}

/** Return the Response, or steps that yield waits and return it; neither throws. */
function respond(Request $request): Response|Generator
{
    try {
        $answer = route($request);
    } catch (Throwable $failure) {
        return failed($failure);
    }
    return $answer instanceof Response ? $answer : take_steps($answer);
}

function take_steps(Generator $steps): Generator
{
    try {
        return yield from $steps;
    } catch (Throwable $failure) {
        return failed($failure);
    }
}

/** Tell the client why it was refused; other failures go only to the log. */
function failed(Throwable $failure): Response
{
    if ($failure instanceof Refused) {
        return text($failure->status, $failure->getMessage());
    }
    error_log('the application failed: ' . $failure);
    return text(500, 'the application failed: its log says why');
}

/** A response with one line of text; the newline is added. */
function text(int $status, string $line, array $more = []): Response
{
    $headers = ['Content-Type' => 'text/plain', 'Content-Length' => strlen($line) + 1];
    return new Response($status, $headers + $more, $line . "\n");
}

function json(array $value): Response
{
    $body = json_encode($value, JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR);
    $headers = ['Content-Type' => 'application/json', 'Content-Length' => strlen($body)];
    return new Response(200, $headers, $body);
}

/** The next bytes of a stream as a body; a long body is read while it is sent. */
function body_of(mixed $stream, int $length): string|Generator
{
    return $length <= PIECE ? read_exactly($stream, $length) : read_pieces($stream, $length);
}

function read_pieces(mixed $stream, int $left): Generator
{
    for (; $left > 0; $left -= PIECE) {
        yield read_exactly($stream, min(PIECE, $left));
    }
}

function read_exactly(mixed $stream, int $length): string
{
    $data = stream_get_contents($stream, $length);
    if ($data === false || strlen($data) < $length) {
        throw new RuntimeException('a body ended short of the length that was promised');
    }
    return $data;
}

/** Maximum bytes of content for /echo. */
function body_limit(): int
{
    return (int) (getenv('CHAINLAB_BODY_LIMIT') ?: 64 * MIB);
}

function too_large(): Refused
{
    return new Refused(413, 'the content is too large: send at most ' . body_limit() . ' bytes');
}

// Parameters

function whole_number(Request $request, string $name, int $least, int $most): int
{
    $remedy = "give a whole number from $least to $most";
    $values = [];
    foreach (explode('&', $request->query) as $field) {
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

// Handlers: each returns a Response, or is a generator that yields waits and then returns one

function hello(): Response
{
    return text(200, 'Hello, world!');
}

function greet_json(): Response
{
    return json(['message' => 'Hello, world!']);
}

/** Wait: models a request that waits for I/O. */
function wait(Request $request): Generator
{
    $milliseconds = whole_number($request, 'ms', 0, 60000);
    yield new Wait($milliseconds / 1000);
    return text(200, "waited $milliseconds ms");
}

/** Compute: models a CPU-bound request, which blocks its worker. */
function burn_cpu(Request $request): Response
{
    $rounds = whole_number($request, 'n', 1, 1000000);
    $digest = '';
    for ($round = 0; $round < $rounds; $round++) {
        $digest = hash('sha256', $digest, true);
    }
    return text(200, bin2hex($digest));
}

function send_bytes(Request $request): Response
{
    $count = whole_number($request, 'n', 0, 64 * MIB);
    $pattern = str_repeat(implode('', array_map('chr', range(0, 255))), PIECE >> 8);
    $body = $count <= PIECE ? substr($pattern, 0, $count) : repeat($pattern, $count);
    $headers = ['Content-Type' => 'application/octet-stream', 'Content-Length' => $count];
    return new Response(200, $headers, $body);
}

function repeat(string $pattern, int $count): Generator
{
    for ($left = $count; $left >= PIECE; $left -= PIECE) {
        yield $pattern;
    }
    if ($left > 0) {
        yield substr($pattern, 0, $left);
    }
}

/** Return the received content; reads all of it first, or both sides could block in write. */
function echo_content(Request $request): Response
{
    $content = $request->content();
    $length = fstat($content)['size'];
    $type = $request->field('content-type') ?: 'application/octet-stream';
    $headers = ['Content-Type' => $type, 'Content-Length' => $length];
    return new Response(200, $headers, body_of($content, $length));
}

function stream_lines(Request $request): Response
{
    $count = whole_number($request, 'n', 0, 100000);
    $milliseconds = whole_number($request, 'ms', 0, 60000);
    $headers = ['Content-Type' => 'text/plain', 'X-Accel-Buffering' => 'no'];
    return new Response(200, $headers, make_lines($count, new Wait($milliseconds / 1000)));
}

function make_lines(int $count, Wait $pause): Generator
{
    for ($number = 1; $number <= $count; $number++) {
        if ($number > 1) {
            yield $pause;
        }
        yield "line $number\n";
    }
}

function whoami(Request $request): Response
{
    $fields = [];
    foreach ($request->fields() as $name => $value) {
        $fields[$name] = iconv('ISO-8859-1', 'UTF-8', $value);
    }
    ksort($fields, SORT_STRING);
    return json([
        'architecture' => $request->architecture(),
        'pid' => getmypid(),
        'thread' => getmypid(),          // one thread: its id is the process's
        'requests' => $request->served(),
        'http_version' => $request->version(),
        'client' => $request->client(),
        'headers' => (object) $fields,
    ]);
}

/** /file/NAME, in its own file: php-fpm declares again, for each request, whatever is included. */
function get_file(Request $request): Response
{
    require_once __DIR__ . '/files.php';
    return serve_file($request, substr($request->path, strlen('/file/')));
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
const FILE_ROUTE = ['get_file', 'GET, HEAD'];

/** Call the handler of the request's path and method. */
function route(Request $request): Response|Generator
{
    $path = $request->path;
    $route = ROUTES[$path] ?? null;
    if ($route === null) {
        if (!str_starts_with($path, '/file/') || $path === '/file/') {
            throw new Refused(404, 'no such path: the routes are in servers/app/CONTRACT.md');
        }
        $route = FILE_ROUTE;
    }
    [$handler, $allow] = $route;
    if (!in_array($request->method, explode(', ', $allow), true)) {
        return text(405, "this path takes $allow only", ['Allow' => $allow]);
    }
    return $handler($request);
}
