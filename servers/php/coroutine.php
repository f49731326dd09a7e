<?php
/* Coroutines with yield (S8): a connection is one function, from accept to close.
 *
 * The function yields what it waits for, and is resumed with true, or with false if the deadline
 * has passed. Its position and its local variables are the state of the connection: no callbacks,
 * no fields to store state in, and a loop is an ordinary `while`. select.php does the same, on the
 * same loop, with callbacks.
 *
 * The price is one generator per function on the call path, suspended and resumed at each wait. The
 * kernel sees no difference, and one thread still does everything: a coroutine that does not yield,
 * as in /cpu, blocks all others.
 */

declare(strict_types=1);

require __DIR__ . '/command.php';

/** The client has reset its connection, or no longer reads. */
final class ClientGone extends Exception
{
}

/** The scheduler: runs a coroutine until it yields an Until, and resumes it when that happens. */
final class Task
{
    public function __construct(
        private readonly Generator $coroutine,
        private readonly Loop $loop,
        private readonly Closure $onEnd,
    ) {
    }

    public function run(): void
    {
        if ($this->coroutine->valid()) {
            $this->loop->await($this->coroutine->current(), $this->resume(...));
        } else {
            ($this->onEnd)();
        }
    }

    private function resume(bool $ready): void
    {
        $this->coroutine->send($ready);
        $this->run();
    }
}

/** A connection, from accept to close. */
function converse(mixed $socket, string $client, Stop $stop): Generator
{
    $reader = new RequestReader($client);
    try {
        do {
            $answer = yield from read_on($socket, $reader, $stop);
        } while ($answer && (yield from send_answer($socket, $answer)));
        if ($answer) {
            yield from say_goodbye($socket);
        }
    } catch (ClientGone) {
    }
    fclose($socket);
}

/** Wait for a request and return its answer; null: no more requests will come. */
function read_on(mixed $socket, RequestReader $reader, Stop $stop): Generator
{
    while (!($answer = $reader->nextAnswer($stop)) && !$reader->hasEnded()) {
        if (!(yield new Readable($socket, $reader->deadline(now()), $reader->isIdle()))) {
            return $reader->expire();
        }
        $bytes = receive($socket);
        $bytes === null ? $reader->end() : $reader->receive($bytes);
    }
    return $answer;
}

/** Send an answer step by step; return whether another request may follow. */
function send_answer(mixed $socket, Generator $answer): Generator
{
    $before = null;
    foreach ($answer as $step) {
        if ($step instanceof Wait) {
            yield new Pause($socket, now() + $step->seconds);
        } else {
            if (is_string($before)) {    // one step at a time, so that other connections get a turn
                yield from take_turn($socket);
            }
            yield from send_all($socket, $step);
        }
        $before = $step;
    }
    return $answer->getReturn();
}

function send_all(mixed $socket, string $bytes): Generator
{
    while (($bytes = transmit($socket, $bytes)) !== '') {
        if ($bytes === null) {
            throw new ClientGone();
        }
        yield from take_turn($socket);
    }
}

/** Let other coroutines run until the socket is writable. */
function take_turn(mixed $socket): Generator
{
    if (!(yield new Writable($socket, now() + PATIENCE))) {
        throw new ClientGone();
    }
}

/** Keep reading until the client has received everything and closes too. */
function say_goodbye(mixed $socket): Generator
{
    shut($socket);
    $due = now() + LINGER_SECONDS;
    while ((yield new Readable($socket, $due)) && receive($socket) !== null) {
        continue;                        // discard what still comes
    }
}

serve(function (mixed $socket, string $client, Loop $loop, Stop $stop, Closure $onClose): void {
    (new Task(converse($socket, $client, $stop), $loop, $onClose))->run();
});
