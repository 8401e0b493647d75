/* Folding events in C: its reference is `Fold` in asynctrace/recorder/fold.py. */

#ifndef ASYNCTRACE_FOLD_H
#define ASYNCTRACE_FOLD_H

#include "event_reader.h"
#include "living.h"

/* Fold an event, of a thread's in their order. After a MemoryError the fold is as it was before this event. */
int fold_event(void *fold, const struct event *event);

/* To be called after the last of some events, and after an error. */
void fold_pause(struct fold *fold);

#endif
