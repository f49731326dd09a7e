<?php
/* One HTTP/1.1 connection without its I/O: bytes in, answers out.
 *
 *     $reader->receive($bytes);               bytes from the client, split anywhere
 *     $answer = $reader->nextAnswer($stop);   the steps of http_answer.php; null: needs more bytes
 *
 * A request is answered once all its content has arrived; content beyond a MiB is kept in a file.
 * The next request is not parsed before this one is answered.
 */

declare(strict_types=1);

/** Seconds for the first request to begin, for a whole head, between two pieces of content, and for
 * a client to receive any of what we send. */
const PATIENCE = 10.0;
/** Seconds that a kept connection may be idle; nginx's keepalive_timeout. */
const IDLE = 75.0;

/** Parses the bytes of a connection into requests. */
final class RequestReader
{
    private string $buffer = '';
    private int $seen = 0;               // bytes of an incomplete head already checked
    private bool $forgiven = false;      // an empty line before the head has been skipped
    private bool $ended = false;
    private ?float $headDue = null;
    private float $mayIdle = PATIENCE;   // seconds until the next request begins
    private ?HttpRequest $request = null; // one whose content is incomplete
    private LengthFraming|ChunkedFraming|null $framing = null;
    private bool $invites = false;       // the client waits for 100 (Continue)
    private static int $served = 0;

    public function __construct(private readonly string $client)
    {
    }

    public function receive(string $bytes): void
    {
        $this->buffer .= $bytes;
    }

    /** The client will send no more; it may still read (a half-closed connection). */
    public function end(): void
    {
        $this->ended = true;
    }

    public function hasEnded(): bool
    {
        return $this->ended;
    }

    /** Whether no byte of the next request has arrived. */
    public function isIdle(): bool
    {
        return $this->buffer === '' && $this->request === null;
    }

    /** The deadline for the missing bytes, if waiting starts now. */
    public function deadline(float $now): float
    {
        if ($this->request !== null) {
            return $now + PATIENCE;
        }
        if ($this->isIdle()) {
            return $now + $this->mayIdle;
        }
        return $this->headDue ??= $now + PATIENCE;
    }

    /** Return the steps for the received bytes: an answer, a refusal, or 100 (Continue); null: wait
     * for more bytes, unless the client has ended. */
    public function nextAnswer(Stop $stop): ?Generator
    {
        try {
            $request = $this->takeRequest();
        } catch (Refused $refusal) {
            return refuse($refusal);
        }
        if ($request === null && $this->invites) {
            $this->invites = false;
            return invite();
        }
        return $request ? answer($request, $stop) : null;
    }

    /** Return the steps after the deadline has passed; null: close. */
    public function expire(): ?Generator
    {
        return $this->isIdle() ? null : refuse(new Refused(408, 'the request did not come in time'));
    }

    private function takeRequest(): ?HttpRequest
    {
        if (($this->request !== null || $this->takeHead()) && $this->takeContent()) {
            $request = $this->request;
            $request->number = ++self::$served;
            $this->request = $this->framing = null;
            $this->invites = false;
            $this->mayIdle = IDLE;
            return $request;
        }
        if ($this->ended && !$this->isIdle()) {
            $where = $this->request ? 'before the end of the body' : 'in the middle of a request head';
            throw new Refused(400, "closed $where");
        }
        return null;
    }

    private function takeHead(): bool
    {
        if (!$this->forgiven && str_starts_with($this->buffer, "\r\n")) {
            $this->buffer = substr($this->buffer, 2); // forgiven once (RFC 9112 section 2.2)
            $this->forgiven = true;
        }
        if ($this->buffer === '') {
            return false;
        }
        $end = strpos($this->buffer, "\r\n\r\n", max(0, $this->seen - 3));
        if ($end === false) {
            refuse_early($this->buffer, $this->seen);
            // A lone CR may be the first half of the empty line to skip.
            $this->seen = $this->buffer === "\r" ? 0 : strlen($this->buffer);
            return false;
        }
        $this->begin(parse_head(substr($this->buffer, 0, $end + 4), $this->client));
        $this->buffer = substr($this->buffer, $end + 4);
        $this->invites = $this->framing && $this->request->expectsContinue() && $this->buffer === '';
        return true;
    }

    private function begin(HttpRequest $request): void
    {
        $this->framing = measure($request);
        $this->request = $request;
        $this->seen = 0;
        $this->forgiven = false;
        $this->headDue = null;
        if ($this->framing) {
            $request->content = fopen('php://temp/maxmemory:' . MIB, 'w+b');
        }
    }

    /** Move content from the buffer to the request; return whether it is complete. */
    private function takeContent(): bool
    {
        if ($this->framing === null) {
            return true;
        }
        if ($this->buffer !== '') {
            [$content, $used] = $this->framing->take($this->buffer);
            $this->buffer = substr($this->buffer, $used);
            if (@fwrite($this->request->content, $content) !== strlen($content)) {
                throw new Refused(500, 'the content cannot be kept: no room for a temporary file');
            }
        }
        return $this->framing->finished;
    }
}
