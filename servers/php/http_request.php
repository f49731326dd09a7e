<?php
/* A request received over HTTP: what the application and its server read of it. */

declare(strict_types=1);

/** A request whose head has been read and checked. */
final class HttpRequest extends Request
{
    /** The content received so far, as a stream; null: none. */
    public mixed $content = null;
    /** The number of this request in its process, from 1. */
    public int $number = 0;

    public function __construct(
        string $method,
        string $path,
        string $query,
        public readonly int $minor,
        public readonly array $values,   // lower-case name => its values, in order
        private readonly string $client,
    ) {
        parent::__construct($method, $path, $query);
    }

    public function field(string $name): ?string
    {
        return isset($this->values[$name]) ? implode(', ', $this->values[$name]) : null;
    }

    public function fields(): array
    {
        $fields = [];
        foreach ($this->values as $name => $values) {
            if ($name !== 'proxy' && !str_contains((string) $name, '_')) {
                $fields[$name] = implode(', ', $values);
            }
        }
        return $fields;
    }

    public function content(): mixed
    {
        $content = $this->content ?? fopen('php://memory', 'rb');
        rewind($content);
        return $content;
    }

    public function version(): string
    {
        return 'HTTP/1.' . $this->minor;
    }

    public function client(): string
    {
        return $this->client;
    }

    public function architecture(): string
    {
        return getenv('CHAINLAB_ARCHITECTURE') ?: 'unknown';
    }

    public function served(): int
    {
        return $this->number;
    }

    /** Whether the client wants to keep the connection. */
    public function isPersistent(): bool
    {
        $options = array_map('trim', explode(',', strtolower($this->field('connection') ?? '')));
        return !in_array('close', $options, true)
            && ($this->minor > 0 || in_array('keep-alive', $options, true));
    }

    /** Whether the client waits for 100 (Continue) before its content (RFC 9110 section 10.1.1). */
    public function expectsContinue(): bool
    {
        return $this->minor > 0 && isset($this->values['expect']);
    }
}
