/* What waits to be sent to one client: text of our own, a piece that somebody keeps, a file.
 *
 * In this order: `text`, `piece`, `tail`, `file`. Small things are copied into the text, so that
 * the usual response is one run of bytes and one send(2); a long piece is not copied.
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
    int file; /* of use while file_left */
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

/* The beginning of every response: status line and Server; and the Date, made once a second. */
bool output_begin_head(struct buffer *text, int status);
bool output_add_date(struct buffer *text);

#endif
