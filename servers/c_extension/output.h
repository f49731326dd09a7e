/* Output waiting to be sent to one client, in this order: `text` (our own bytes), `piece` (bytes
 * owned by Python), `tail`, `file`.
 *
 * Small pieces are copied into the text, so that a typical response is one block of bytes and one
 * send(2); a long piece is not copied.
 */

#ifndef CHAINLAB_OUTPUT_H
#define CHAINLAB_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "buffer.h"

struct output {
    struct buffer text;
    size_t text_sent;
    const char *piece;
    size_t piece_left;
    const char *tail;
    size_t tail_left;
    int file; /* valid while file_left > 0 */
    off_t file_at;
    size_t file_left;
};

enum sent { SENT_SOME, SENT_NOTHING, SENT_FAILED };

static inline bool output_pending(const struct output *output)
{
    return output->text_sent < output->text.length || output->piece_left || output->tail_left ||
           output->file_left;
}

/* Send with one system call; SENT_NOTHING: the socket is full, SENT_FAILED: errno says why. */
enum sent output_send(struct output *output, int socket);

void output_free(struct output *output);

/* The start of every response: status line and Server; and Date, made once per second. */
bool output_begin_head(struct buffer *text, int status);
bool output_add_date(struct buffer *text);

#endif
