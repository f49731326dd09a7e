/* A heap for timers that are moved much more often than they fire.
 *
 * A kept connection postpones its deadline with every request and hardly ever reaches it. So moving
 * a timer to a later time only stores that time: the heap keeps the old time as the key, and moves
 * the timer to its proper place when the key comes up. Moving to an earlier time, as a handler's
 * wait does, costs the usual O(log n).
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

/* Make room for `most` timers, so that setting one cannot fail; false: out of memory. */
bool timers_init(struct timers *timers, size_t most);
void timers_free(struct timers *timers);

void timer_set(struct timers *timers, struct timer *timer, int64_t due);
void timer_drop(struct timers *timers, struct timer *timer);

/* Remove and return a timer that is due; NULL if none is. */
struct timer *timers_take_due(struct timers *timers, int64_t now);

/* Return a time before which no timer is due. */
int64_t timers_next(const struct timers *timers);

#endif
