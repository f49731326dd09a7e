<?php
/* I/O multiplexing (S7, M3): one loop, one select for all connections, and callbacks for ready sockets.
 *
 * Only select blocks, so one process serves a thousand connections, and a waiting request costs one
 * deadline. The price: the code is split at each wait, and the state of a connection is the next
 * callback plus the fields of its object. coroutine.php does the same, on the same loop, in one
 * function.
 *
 *     waits for            callback                                after the deadline
 *     Readable             onReadable: read on, answer              408, or close when idle
 *     Writable             onWritable: send on, take the next step  close
 *     Pause                onTime: take the next step
 *     Readable, at last    onGoodbye: close when the client did     close
 *
 * One thread does everything: while /cpu computes, it blocks all other connections.
 */

declare(strict_types=1);

require __DIR__ . '/command.php';

/** A connection, from accept to close. */
final class Conversation
{
    private readonly RequestReader $reader;
    private ?Generator $answer = null;   // its current step is in progress
    private ?string $out = '';           // the step's bytes still to be sent
    private float $goodbyeDue = INF;

    public function __construct(
        private readonly mixed $socket,
        string $client,
        private readonly Loop $loop,
        private readonly Stop $stop,
        private readonly Closure $onClose,
    ) {
        $this->reader = new RequestReader($client);
    }

    /** Answer the received requests, then wait for more. */
    public function goOn(): void
    {
        while ($this->answer = $this->reader->nextAnswer($this->stop)) {
            if (!$this->step()) {
                return;
            }
        }
        if ($this->reader->hasEnded()) {
            $this->close();
            return;
        }
        $until = new Readable($this->socket, $this->reader->deadline(now()), $this->reader->isIdle());
        $this->loop->await($until, $this->onReadable(...));
    }

    private function onReadable(bool $ready): void
    {
        if ($ready) {
            $bytes = receive($this->socket);
            $bytes === null ? $this->reader->end() : $this->reader->receive($bytes);
            $this->goOn();
        } elseif ($this->answer = $this->reader->expire()) {
            $this->step();
        } else {
            $this->close();
        }
    }

    private function onWritable(bool $ready): void
    {
        if (!$ready) {
            $this->close();
        } elseif ($this->out === '' ? $this->step() : $this->send()) {
            $this->goOn();
        }
    }

    private function onTime(): void
    {
        $this->answer->next();
        if ($this->step()) {
            $this->goOn();
        }
    }

    private function onGoodbye(bool $ready): void
    {
        if (!$ready || receive($this->socket) === null) {
            $this->close();
        } else {
            $this->awaitGoodbye();
        }
    }

    /** Do the answer's current step; return whether it is complete and another request may follow. */
    private function step(): bool
    {
        $step = $this->answer->current();
        if (is_string($step)) {
            $this->out = $step;
            return $this->send();
        }
        if ($step instanceof Wait) {
            $until = new Pause($this->socket, now() + $step->seconds);
            $this->loop->await($until, $this->onTime(...));
            return false;
        }
        if ($this->answer->getReturn()) {
            return true;
        }
        shut($this->socket);
        $this->goodbyeDue = now() + LINGER_SECONDS;
        $this->awaitGoodbye();
        return false;
    }

    /** Send what the kernel accepts, one step at a time, so that other connections get a turn. */
    private function send(): bool
    {
        $this->out = transmit($this->socket, $this->out);
        if ($this->out === null) {
            $this->close();
            return false;
        }
        if ($this->out === '') {
            $this->answer->next();
            if (!is_string($this->answer->current())) {
                return $this->step();
            }
        }
        $until = new Writable($this->socket, now() + PATIENCE);
        $this->loop->await($until, $this->onWritable(...));
        return false;
    }

    private function awaitGoodbye(): void
    {
        $this->loop->await(new Readable($this->socket, $this->goodbyeDue), $this->onGoodbye(...));
    }

    private function close(): void
    {
        fclose($this->socket);
        ($this->onClose)();
    }
}

serve(function (mixed $socket, string $client, Loop $loop, Stop $stop, Closure $onClose): void {
    (new Conversation($socket, $client, $loop, $stop, $onClose))->goOn();
});
