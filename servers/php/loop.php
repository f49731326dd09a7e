<?php
/* The readiness loop under select.php and coroutine.php: one select for all that is waited for.
 *
 *     $loop->await(new Readable($socket, $deadline), $callback);
 *
 * calls back once, with true when the socket is ready and with false when the deadline has passed.
 * A socket waits for one thing at a time. Select is told all sockets on every call and looks at
 * each of them: a turn of the loop costs more with every connection, idle or not.
 *
 * Signals are looked for once a turn, and one that comes just before select does not end it: so no
 * wait is longer than a second. PHP could run a handler at once (pcntl_async_signals), but loses the
 * signal if an exception is on its way at that moment.
 */

declare(strict_types=1);

const GRACE_SECONDS = 10.0;              // for running requests, when the server is to stop
const LONGEST_WAIT = 1.0;

/** Seconds of a clock that nobody sets. */
function now(): float
{
    return hrtime(true) / 1e9;
}

/** Whether a signal has asked the server to stop; without the extension pcntl it ends at once. */
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

    /** Take the signals that have come. */
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

    /** Whether what still runs has had its time. */
    public function isDue(): bool
    {
        return now() >= $this->due;
    }
}

/** What a socket waits for, `$deadline` at the latest. What is idle is given up when the server
 * stops, as if its deadline had passed. */
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

/** Time alone. */
final class Pause extends Until
{
}

final class Loop
{
    // All by the socket's resource id, which PHP never gives to another.
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

    /** Call back until nobody waits any more, or the server has to stop. */
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

    /** Wait, and return the ids of what is ready. */
    private function select(): array
    {
        $seconds = min(max(0.0, $this->next - now()), LONGEST_WAIT);
        $microseconds = (int) ceil($seconds * 1e6);
        [$readable, $writable, $exceptional] = [$this->readable, $this->writable, null];
        if (!$readable && !$writable) {
            usleep($microseconds);       // select refuses to watch nothing
            return [];
        }
        if (@stream_select($readable, $writable, $exceptional, 0, $microseconds) === false) {
            return [];                   // a signal came
        }
        return [...array_keys($readable), ...array_keys($writable)];
    }

    /** Return the ids whose deadline has passed. Only when the next one may have passed all of
     * them are looked at, as select does on every call. */
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
