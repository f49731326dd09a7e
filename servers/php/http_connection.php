<?php
/* One HTTP/1.1 connection without its I/O: bytes in, answers out.
 *
 *     $reader->receive($bytes);               what the client sent, cut wherever it was cut
 *     $answer = $reader->nextAnswer($stop);   the steps of http_answer.php; null: more is needed
 *
 * A request is answered when all of its content has come; beyond a MiB that is held in a file.
 * Nothing of the next request is looked at before this one is answered.
 */

declare(strict_types=1);

/** Seconds for the first request to begin, for a whole head, between two pieces of its content, and
 * for a client to take anything of what we send. */
const PATIENCE = 10.0;
/** Seconds that a kept connection may lie idle; nginx's keepalive_timeout. */
const IDLE = 75.0;

/** Makes requests of the bytes that come on a connection. */
final class RequestReader
{
    private string $buffer = '';
    private int $seen = 0;               // bytes of an unfinished head that have been looked at
    private bool $forgiven = false;      // an empty line before the head has been passed over
    private bool $ended = false;
    private ?float $headDue = null;
    private float $mayIdle = PATIENCE;   // seconds until the next request begins
    private ?HttpRequest $request = null; // one whose content is still coming
    private LengthFraming|ChunkedFraming|null $framing = null;
    private bool $invites = false;       // the client waits to be told to send its content
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

    /** Whether nothing of the next request has come. */
    public function isIdle(): bool
    {
        return $this->buffer === '' && $this->request === null;
    }

    /** Until when what is missing has to come, if we begin to wait for it now. */
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

    /** Return what is to be done about what has come: an answer, a refusal, or a word to a client
     * that waits for one; null: wait for more bytes, unless it has ended. */
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

    /** Return what is to be done when the deadline has passed; null: close. */
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
            // A lone CR may be the first half of the empty line that is forgiven.
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

    /** Move content from the buffer to where it is held; whether all of it is there. */
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
