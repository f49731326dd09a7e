<?php
/* Coroutines with yield (S8): a conversation is one function, from accept to close.
 *
 * It yields what it waits for and is resumed with true, or with false when it is too late. Where a
 * conversation stands is where its function stands, with its local variables: no callbacks, no
 * fields to remember things in, and a `while` is a `while` again. select.php holds the same
 * conversation, on the same loop, cut into callbacks.
 *
 * The price is a generator for each function the conversation is in, left and entered again at
 * each wait. The kernel sees no difference, and neither does /cpu: one thread does it all, and who
 * does not yield stands in everybody's way.
 */

declare(strict_types=1);

require __DIR__ . '/command.php';

/** The client has reset its connection, or takes nothing any more. */
final class ClientGone extends Exception
{
}

/** The scheduler: runs a coroutine until it yields an Until, and goes on when that has come. */
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

/** Return the answer to what has come, as soon as there is one; null: nothing more will come. */
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

/** Do the steps of an answer; returns whether another request may follow. */
function send_answer(mixed $socket, Generator $answer): Generator
{
    $before = null;
    foreach ($answer as $step) {
        if ($step instanceof Wait) {
            yield new Pause($socket, now() + $step->seconds);
        } else {
            if (is_string($before)) {    // of a long answer one step, so that others have their turn
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

/** Let the others go on until the kernel takes more of what we send. */
function take_turn(mixed $socket): Generator
{
    if (!(yield new Writable($socket, now() + PATIENCE))) {
        throw new ClientGone();
    }
}

/** Read on until the client has taken all and closes too. */
function say_goodbye(mixed $socket): Generator
{
    shut($socket);
    $due = now() + LINGER_SECONDS;
    while ((yield new Readable($socket, $due)) && receive($socket) !== null) {
        continue;                        // what still comes is for nobody
    }
}

serve(function (mixed $socket, string $client, Loop $loop, Stop $stop, Closure $onClose): void {
    (new Task(converse($socket, $client, $stop), $loop, $onClose))->run();
});
