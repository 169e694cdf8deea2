
/*
 * Copyright (C) nginx-cycles authors
 *
 * Any bytes as a time zone file: refused, or a zone whose periods contain
 * what they should and follow each other.  The first 8 bytes are a time.
 */


#include <stdlib.h>
#include <string.h>

#include "ledger/cycles_calendar.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int             every;
    char            err[256];
    int64_t         now, start, end, start2, end2;
    cycles_zone_t  *zone;

    if (size < sizeof(int64_t)) {
        return 0;
    }

    memcpy(&now, data, sizeof(int64_t));

    zone = cycles_zone_parse(data + sizeof(int64_t), size - sizeof(int64_t),
                             err, sizeof(err));

    if (zone == NULL) {
        return 0;
    }

    for (every = 0; every < CYCLES_EVERIES; every++) {
        if (cycles_calendar_bounds(zone, every, now, &start, &end) != 0) {
            continue;
        }

        if (start > now || end <= now) {
            abort();
        }

        if (cycles_calendar_bounds(zone, every, end, &start2, &end2) == 0
            && start2 != end)
        {
            abort();
        }

        if (cycles_calendar_bounds(zone, every, end - 1, &start2, &end2) == 0
            && (start2 != start || end2 != end))
        {
            abort();
        }
    }

    cycles_zone_free(zone);

    return 0;
}
