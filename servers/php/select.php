<?php
/* I/O multiplexing (S7, M3): one loop, one select for all connections, and callbacks for what is ready.
 *
 * No call waits but select, so one process serves a thousand connections, and a request that waits
 * costs a deadline. The price: a conversation is cut at each wait, and where it stands is which of
 * these callbacks comes next and what the object remembers for it. coroutine.php holds the same
 * conversation, on the same loop, in one piece.
 *
 *     waits for            called back                             too late
 *     Readable             onReadable: read on, answer              408, or close when idle
 *     Writable             onWritable: send on, take the next step  close
 *     Pause                onTime: take the next step
 *     Readable, at last    onGoodbye: close when the client did     close
 *
 * One thread does it all: /cpu stands in everybody's way while it computes.
 */

declare(strict_types=1);

require __DIR__ . '/command.php';

/** A connection, from accept to close. */
final class Conversation
{
    private readonly RequestReader $reader;
    private ?Generator $answer = null;   // whose current step is being done
    private ?string $out = '';           // of that step, bytes still to be sent
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

    /** Answer what has come; then wait for more. */
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

    /** Do the answer's current step; whether all is answered and another request may follow. */
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

    /** Send what the kernel takes; of a long answer one step, so that others have their turn. */
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
