
/*
 * Copyright (C) nginx-cycles authors
 *
 * Any file in a journal: either it is refused with a reason, or what it holds
 * is written as a record that reads the same.
 */


#include <stdlib.h>
#include <string.h>

#include "client/cycles_journal.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
same(cycles_str_t a, cycles_str_t b)
{
    if (a.len != b.len || memcmp(a.data, b.data, a.len) != 0) {
        abort();
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void                     *memory, *again;
    char                      err[CYCLES_JOURNAL_ERROR_LEN];
    size_t                    len;
    unsigned char            *text;
    cycles_journal_terms_t    terms, terms_again;
    cycles_journal_record_t   rec, rec_again;

    err[0] = '\0';
    memory = NULL;

    if (cycles_journal_parse(data, size, &rec, &terms, &memory, err,
                             sizeof(err))
        != 0)
    {
        if (err[0] == '\0') {
            abort();
        }

        free(memory);
        return 0;
    }

    if (rec.reservation_id.len == 0 || terms.key.len == 0 || terms.amount < 0
        || rec.not_before_ms < 0)
    {
        abort();
    }

    len = cycles_journal_text(NULL, 0, &rec);
    text = malloc(len);

    if (text == NULL || cycles_journal_text(text, len, &rec) != len
        || cycles_journal_parse(text, len, &rec_again, &terms_again, &again,
                                err, sizeof(err))
           != 0)
    {
        abort();
    }

    same(rec.reservation_id, rec_again.reservation_id);
    same(rec.base_url, rec_again.base_url);
    same(rec.commit_body, rec_again.commit_body);
    same(rec.event_body, rec_again.event_body);
    same(terms.key, terms_again.key);

    if (rec.mode != rec_again.mode || terms.amount != terms_again.amount) {
        abort();
    }

    free(text);
    free(again);
    free(memory);

    return 0;
}
