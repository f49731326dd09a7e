<?php
/* The readiness loop of select.php and coroutine.php: one select for everything.
 *
 *     $loop->await(new Readable($socket, $deadline), $callback);
 *
 * calls back once: with true when the socket is ready, with false when the deadline has passed. A
 * socket waits for one event at a time. Every call passes all sockets to select, which scans them,
 * so each connection, idle or not, makes every turn of the loop more expensive.
 *
 * Signals are checked once per turn. One that arrives just before select does not interrupt it, so no
 * wait is longer than a second. PHP could run a handler at once (pcntl_async_signals), but it loses
 * the signal if an exception is being thrown at that moment.
 */

declare(strict_types=1);

const GRACE_SECONDS = 10.0;              // for running requests after a stop signal
const LONGEST_WAIT = 1.0;

/** Seconds of the monotonic clock. */
function now(): float
{
    return hrtime(true) / 1e9;
}

/** Records stop signals; without the extension pcntl, a signal ends the process at once. */
final class Stop
{
    public bool $asked = false;
    private float $due = INF;
    private readonly bool $hears;

    public function __construct()
    {
        $this->hears = function_exists('pcntl_signal');
        foreach ($this->hears ? [SIGTERM, SIGQUIT, SIGINT] : [] as $number) {
            pcntl_signal($number, $this->ask(...));
        }
    }

    /** Process the signals that have arrived. */
    public function look(): void
    {
        if ($this->hears) {
            pcntl_signal_dispatch();
        }
    }

    private function ask(): void
    {
        $this->asked = true;
        $this->due = min($this->due, now() + GRACE_SECONDS);
    }

    /** Whether the grace period of running requests is over. */
    public function isDue(): bool
    {
        return now() >= $this->due;
    }
}

/** What a socket waits for, at most until `$deadline`. When the server stops, idle waits end as if
 * their deadline had passed. */
abstract class Until
{
    public function __construct(
        public readonly mixed $socket,
        public readonly float $deadline,
        public readonly bool $idle = false,
    ) {
    }
}

final class Readable extends Until
{
}

final class Writable extends Until
{
}

/** Waits for the deadline only. */
final class Pause extends Until
{
}

final class Loop
{
    // All keyed by the socket's resource id, which PHP never reuses.
    private array $callbacks = [];
    private array $readable = [];
    private array $writable = [];
    private array $idle = [];
    private array $deadlines = [];
    private float $next = INF;           // never later than the first deadline

    public function __construct(private readonly Stop $stop)
    {
    }

    public function await(Until $until, Closure $callback): void
    {
        $id = get_resource_id($until->socket);
        $this->callbacks[$id] = $callback;
        if ($until instanceof Readable) {
            $this->readable[$id] = $until->socket;
        } elseif ($until instanceof Writable) {
            $this->writable[$id] = $until->socket;
        }
        if ($until->idle) {
            $this->idle[$id] = true;
        }
        $this->deadlines[$id] = $until->deadline;
        $this->next = min($this->next, $until->deadline);
    }

    /** Run until no callback is left, or the grace period after a stop signal is over. */
    public function run(): void
    {
        while ($this->callbacks && !$this->stop->isDue()) {
            foreach ($this->select() as $id) {
                $this->callBack($id, true);
            }
            foreach ($this->findPassed() as $id) {
                $this->callBack($id, false);
            }
            $this->stop->look();
            while ($this->stop->asked && $this->idle) {
                $this->callBack(array_key_first($this->idle), false);
            }
        }
    }

    /** Wait, and return the ids of the ready sockets. */
    private function select(): array
    {
        $seconds = min(max(0.0, $this->next - now()), LONGEST_WAIT);
        $microseconds = (int) ceil($seconds * 1e6);
        [$readable, $writable, $exceptional] = [$this->readable, $this->writable, null];
        if (!$readable && !$writable) {
            usleep($microseconds);       // select fails without sockets
            return [];
        }
        if (@stream_select($readable, $writable, $exceptional, 0, $microseconds) === false) {
            return [];                   // interrupted by a signal
        }
        return [...array_keys($readable), ...array_keys($writable)];
    }

    /** Return the ids whose deadline has passed. Scans all deadlines only if the earliest may have
     * passed. */
    private function findPassed(): array
    {
        $now = now();
        if ($now < $this->next) {
            return [];
        }
        $passed = [];
        $this->next = INF;
        foreach ($this->deadlines as $id => $deadline) {
            if ($deadline <= $now) {
                $passed[] = $id;
            } else {
                $this->next = min($this->next, $deadline);
            }
        }
        return $passed;
    }

    private function callBack(int $id, bool $ready): void
    {
        $callback = $this->callbacks[$id];
        unset(
            $this->callbacks[$id],
            $this->readable[$id],
            $this->writable[$id],
            $this->idle[$id],
            $this->deadlines[$id],
        );
        $callback($ready);
    }
}
