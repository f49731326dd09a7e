/* A binary heap with lazy updates; see timers.h. */

#include "timers.h"

#include <stdlib.h>

bool timers_init(struct timers *timers, size_t most)
{
    timers->count = 0;
    timers->heap = malloc((most + 1) * sizeof(struct timer *));
    return timers->heap;
}

void timers_free(struct timers *timers)
{
    free(timers->heap);
    *timers = (struct timers){0};
}

static void put(struct timers *timers, size_t place, struct timer *timer)
{
    timers->heap[place] = timer;
    timer->place = place;
}

static void sift_up(struct timers *timers, struct timer *timer)
{
    size_t place = timer->place;
    for (; place > 1 && timers->heap[place / 2]->key > timer->key; place /= 2)
        put(timers, place, timers->heap[place / 2]);
    put(timers, place, timer);
}

static void sift_down(struct timers *timers, struct timer *timer)
{
    size_t place = timer->place;
    for (;;) {
        size_t child = place * 2;
        if (child > timers->count)
            break;
        if (child < timers->count && timers->heap[child + 1]->key < timers->heap[child]->key)
            child++;
        if (timers->heap[child]->key >= timer->key)
            break;
        put(timers, place, timers->heap[child]);
        place = child;
    }
    put(timers, place, timer);
}

void timer_set(struct timers *timers, struct timer *timer, int64_t due)
{
    timer->due = due;
    if (timer->place && timer->key <= due)
        return;
    timer->key = due;
    if (!timer->place)
        put(timers, ++timers->count, timer);
    sift_up(timers, timer);
}

void timer_drop(struct timers *timers, struct timer *timer)
{
    if (!timer->place)
        return;
    struct timer *last = timers->heap[timers->count--];
    if (last != timer) {
        put(timers, timer->place, last);
        sift_up(timers, last);
        sift_down(timers, last);
    }
    timer->place = 0;
}

struct timer *timers_take_due(struct timers *timers, int64_t now)
{
    while (timers->count && timers->heap[1]->key <= now) {
        struct timer *first = timers->heap[1];
        if (first->due <= now) {
            timer_drop(timers, first);
            return first;
        }
        first->key = first->due;
        sift_down(timers, first);
    }
    return NULL;
}

int64_t timers_next(const struct timers *timers)
{
    return timers->count ? timers->heap[1]->key : TIMERS_NEVER;
}
