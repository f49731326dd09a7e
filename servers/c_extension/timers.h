/* A heap of timers, made for timers that are moved much more often than they fire.
 *
 * A kept connection pushes its deadline back with every request and hardly ever reaches it. So
 * moving a timer to later only notes the new time: the heap keeps the old one as its key, and puts
 * the timer where it belongs when that comes up. Moving to earlier, which a handler's wait does,
 * costs the usual log n.
 */

#ifndef CHAINLAB_TIMERS_H
#define CHAINLAB_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timer {
    int64_t due;  /* nanoseconds of CLOCK_MONOTONIC */
    int64_t key;  /* never after `due` */
    size_t place; /* in the heap, from 1; 0: not in it */
};

struct timers {
    struct timer **heap; /* heap[1] is the first, its children are 2 and 3, and so on */
    size_t count;
};

#define TIMERS_NEVER INT64_MAX

/* Make room for `most` timers, so that setting one cannot fail; false: there is no memory. */
bool timers_init(struct timers *timers, size_t most);
void timers_free(struct timers *timers);

void timer_set(struct timers *timers, struct timer *timer, int64_t due);
void timer_drop(struct timers *timers, struct timer *timer);

/* Take out and return a timer whose time has come; NULL when there is none. */
struct timer *timers_take_due(struct timers *timers, int64_t now);

/* Return a time before which nothing is due. */
int64_t timers_next(const struct timers *timers);

#endif
