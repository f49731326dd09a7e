<?php
/* Where a request's content ends: a length or chunks (RFC 9112 sections 6 and 7.1).
 *
 * measure() decides this from the head and refuses smuggling attempts: two framings at once,
 * repeated or malformed lengths, chunked not last or repeated. A framing then takes bytes from the
 * front of the connection's buffer,
 *
 *     [$content, $used] = $framing->take($buffer)
 *
 * whenever more have arrived, until it has `finished`. It stores no bytes itself. The rules are
 * those of chainlab/wire/http1/framing.py, which has a test case for each.
 */

declare(strict_types=1);

const CHUNK_LINE_LIMIT = 4096;           // bytes
const TRAILER_BLOCK_LIMIT = 8192;
const NOT_IN_TRAILERS = ['content-length' => true, 'transfer-encoding' => true, 'host' => true];

const QUOTED = '"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\\\[\t \x21-\x7e\x80-\xff])*+"';
const EXTENSION = '[ \t]*+;[ \t]*+' . TOKEN . '(?:[ \t]*+=[ \t]*+(?:' . TOKEN . '|' . QUOTED . '))?+';
const CHUNK_LINE = '/\A([0-9A-Fa-f]{1,16})(?:' . EXTENSION . ')*+\z/';

/** Return the framing of the request's content; null: it has none. */
function measure(HttpRequest $request): LengthFraming|ChunkedFraming|null
{
    $lengths = $request->values['content-length'] ?? [];
    $coding = $request->field('transfer-encoding');
    if ($coding !== null) {
        if ($lengths) {
            throw new Refused(400, 'both Content-Length and Transfer-Encoding');
        }
        if ($request->minor === 0) {
            throw new Refused(400, 'Transfer-Encoding in HTTP/1.0');
        }
        require_chunked($coding);
        return new ChunkedFraming();
    }
    if (!$lengths) {
        return null;
    }
    if (count($lengths) > 1) {
        throw new Refused(400, 'more than one Content-Length');
    }
    if (!preg_match('/\A[0-9]+\z/', $lengths[0])) {
        throw new Refused(400, 'a malformed Content-Length');
    }
    $length = (int) $lengths[0];         // (int) stops at PHP_INT_MAX, which is too large as well
    if ($length > body_limit()) {
        throw too_large();
    }
    return $length > 0 ? new LengthFraming($length) : null;
}

function require_chunked(string $value): void
{
    $codings = array_map(fn ($coding) => trim($coding, " \t"), explode(',', strtolower($value)));
    if ($codings === ['chunked']) {
        return;
    }
    if (in_array('chunked', array_slice($codings, 0, -1), true)) {
        throw new Refused(400, 'chunked is not the last transfer coding, or is repeated');
    }
    foreach ($codings as $coding) {
        if (!preg_match('/\A' . TOKEN . '[ \t]*(?:;.*)?\z/', $coding)) {
            throw new Refused(400, 'a malformed Transfer-Encoding');
        }
    }
    throw new Refused(501, 'an unknown transfer coding');
}

/** Content of a known length. */
final class LengthFraming
{
    public bool $finished = false;

    public function __construct(private int $left)
    {
    }

    /** Return [content, bytes used]; never more than the length allows. */
    public function take(string $buffer): array
    {
        $content = strlen($buffer) > $this->left ? substr($buffer, 0, $this->left) : $buffer;
        $this->left -= strlen($content);
        $this->finished = $this->left === 0;
        return [$content, strlen($content)];
    }
}

/** Chunks: size line, data, CRLF; at last a zero size, trailers, an empty line. */
final class ChunkedFraming
{
    public bool $finished = false;
    private int $left = 0;               // bytes of the current chunk, including its CRLF
    private int $total = 0;
    private bool $inTrailers = false;

    /** Return [content of all buffered chunks, bytes used]. */
    public function take(string $buffer): array
    {
        $content = '';
        $at = 0;
        do {
            if ($this->inTrailers) {
                $used = $this->takeTrailers($buffer, $at);
            } elseif ($this->left === 0) {
                $used = $this->takeSize($buffer, $at);
            } else {
                $used = $this->takeData($buffer, $at, $content);
            }
            $at += $used;
        } while ($used > 0 && !$this->finished);
        return [$content, $at];
    }

    /** Read a size line; return its length, or 0 if it is incomplete. */
    private function takeSize(string $buffer, int $at): int
    {
        $end = strpos($buffer, "\r\n", $at);
        if (($end === false ? strlen($buffer) : $end) - $at > CHUNK_LINE_LIMIT) {
            throw new Refused(400, 'a chunk line longer than ' . CHUNK_LINE_LIMIT . ' bytes');
        }
        if ($end === false) {
            require_no_stray($buffer, $at, 'a chunk line');
            return 0;
        }
        if (!preg_match(CHUNK_LINE, substr($buffer, $at, $end - $at), $line)) {
            throw new Refused(400, 'a bad chunk size');
        }
        $size = hexdec($line[1]);        // beyond PHP_INT_MAX a float, which compares as well
        if ($size > body_limit() - $this->total) {
            throw too_large();
        }
        $this->total += $size;
        $this->inTrailers = $size === 0;
        $this->left = $size === 0 ? 0 : $size + 2;
        return $end + 2 - $at;
    }

    /** Take data, and the CRLF after it if it is complete; return the bytes used. */
    private function takeData(string $buffer, int $at, string &$content): int
    {
        $size = $this->left - 2;
        $data = substr($buffer, $at, $size);
        $ending = strlen($data) === $size ? substr($buffer, $at + $size, 2) : '';
        if (!str_starts_with("\r\n", $ending)) {
            throw new Refused(400, 'chunk data longer than its size');
        }
        $content .= $data;
        $used = strlen($data) + ($ending === "\r\n" ? 2 : 0);
        $this->left -= $used;
        return $used;
    }

    /** Check the trailers, which are not used; return their length, or 0 if they are incomplete. */
    private function takeTrailers(string $buffer, int $at): int
    {
        if (substr($buffer, $at, 2) === "\r\n") {
            $this->finished = true;
            return 2;
        }
        $end = strpos($buffer, "\r\n\r\n", $at);
        if (($end === false ? strlen($buffer) : $end) - $at > TRAILER_BLOCK_LIMIT) {
            throw new Refused(431, 'trailers longer than ' . TRAILER_BLOCK_LIMIT . ' bytes');
        }
        if ($end === false) {
            require_no_stray($buffer, $at, 'the trailers');
            return 0;
        }
        $trailers = parse_fields(substr($buffer, $at, $end + 2 - $at));
        if (array_intersect_key($trailers, NOT_IN_TRAILERS)) {
            throw new Refused(400, 'a framing field or Host in the trailers');
        }
        $this->finished = true;
        return $end + 4 - $at;
    }
}
